import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoop;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.LineBasedFrameDecoder;
import java.nio.charset.StandardCharsets;

/**
 * As much of the NATS client protocol as a publisher needs; Debian has no NATS client for Java. Owned by one event loop:
 * what its devices publish in one turn is one write.
 */
final class Nats extends SimpleChannelInboundHandler<ByteBuf> {
    private static final String HELLO =
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"java\",\"version\":\"1\"}\r\n";
    private static final byte[] CRLF = {'\r', '\n'};
    private static final int LINE_BYTES_MAX = 64 << 10;

    private final EventLoop loop;
    private Channel channel;
    private ByteBuf turn;

    private Nats(EventLoop loop) {
        this.loop = loop;
    }

    static Nats connect(EventLoop loop, String host, int port) throws InterruptedException {
        var nats = new Nats(loop);
        nats.channel = new Bootstrap()
                .group(loop)
                .channel(NioSocketChannel.class)
                .option(ChannelOption.TCP_NODELAY, true)
                .handler(new ChannelInitializer<Channel>() {
                    @Override
                    protected void initChannel(Channel channel) {
                        channel.pipeline().addLast(new LineBasedFrameDecoder(LINE_BYTES_MAX), nats);
                    }
                })
                .connect(host, port).sync().channel();
        nats.channel.writeAndFlush(ascii(HELLO)).sync();
        return nats;
    }

    /** Copies the payload. Called by devices of the same loop only. */
    void publish(byte[] command, ByteBuf payload) {
        if (turn == null) {
            turn = channel.alloc().ioBuffer(4096);
            loop.execute(this::endTurn);
        }
        turn.writeBytes(command);
        writeDecimal(turn, payload.readableBytes());
        turn.writeBytes(CRLF).writeBytes(payload, payload.readerIndex(), payload.readableBytes()).writeBytes(CRLF);
    }

    private void endTurn() {
        ByteBuf written = turn;
        turn = null;
        channel.writeAndFlush(written, channel.voidPromise());
    }

    private static void writeDecimal(ByteBuf out, int n) {
        if (n >= 10) {
            writeDecimal(out, n / 10);
        }
        out.writeByte('0' + n % 10);
    }

    @Override
    protected void channelRead0(ChannelHandlerContext context, ByteBuf line) {
        String text = line.toString(StandardCharsets.US_ASCII);
        if (text.startsWith("PING")) {
            context.writeAndFlush(ascii("PONG\r\n"));
        } else if (text.startsWith("-ERR")) {
            lost(text);
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        lost("connection closed");
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        lost(cause.toString());
    }

    /** Without NATS there is nothing to measure. */
    private static void lost(String why) {
        System.err.println("NATS is gone: " + why);
        Runtime.getRuntime().halt(1);
    }

    private static ByteBuf ascii(String text) {
        return Unpooled.wrappedBuffer(text.getBytes(StandardCharsets.US_ASCII));
    }
}
