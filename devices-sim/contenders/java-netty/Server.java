import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.EventLoop;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.codec.http.websocketx.WebSocketDecoderConfig;
import io.netty.handler.codec.http.websocketx.WebSocketFrameAggregator;
import io.netty.handler.codec.http.websocketx.WebSocketServerProtocolConfig;
import io.netty.handler.codec.http.websocketx.WebSocketServerProtocolHandler;
import io.netty.util.concurrent.EventExecutor;
import java.net.URI;
import java.util.HashMap;
import java.util.Map;

/** The WebSocket contender in Java: Netty's event loops over NIO, one per core, each with a NATS connection of its own. */
final class Server {
    static final int MESSAGE_BYTES_MAX = 64 << 10;

    private static final WebSocketServerProtocolConfig WEBSOCKET = WebSocketServerProtocolConfig.newBuilder()
            .websocketPath("/ws/").checkStartsWith(true)
            .decoderConfig(WebSocketDecoderConfig.newBuilder().maxFramePayloadLength(MESSAGE_BYTES_MAX).build())
            .build();

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(System.getenv("BENCH_PORT"));
        URI nats = URI.create(System.getenv("BENCH_NATS"));

        var acceptor = new NioEventLoopGroup(1);
        var workers = new NioEventLoopGroup(Runtime.getRuntime().availableProcessors());
        Map<EventLoop, Nats> natsOf = new HashMap<>();
        for (EventExecutor worker : workers) {
            natsOf.put((EventLoop) worker, Nats.connect((EventLoop) worker, nats.getHost(), nats.getPort()));
        }
        new ServerBootstrap()
                .group(acceptor, workers)
                .channel(NioServerSocketChannel.class)
                .option(ChannelOption.SO_BACKLOG, 4096)
                .option(ChannelOption.SO_REUSEADDR, true)
                .childOption(ChannelOption.TCP_NODELAY, true)
                .childHandler(new ChannelInitializer<SocketChannel>() {
                    @Override
                    protected void initChannel(SocketChannel device) {
                        open(device.pipeline(), natsOf.get(device.eventLoop()));
                    }
                })
                .bind("127.0.0.1", port).sync();
        System.out.println("ready");
    }

    private static void open(ChannelPipeline pipeline, Nats nats) {
        pipeline.addLast(
                new HttpServerCodec(),
                new HttpObjectAggregator(MESSAGE_BYTES_MAX),
                new ClientPath(),
                new WebSocketServerProtocolHandler(WEBSOCKET),
                new WebSocketFrameAggregator(MESSAGE_BYTES_MAX),
                new Device(nats));
    }
}
