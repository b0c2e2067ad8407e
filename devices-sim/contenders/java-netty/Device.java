import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.handler.codec.http.websocketx.WebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketServerProtocolHandler.HandshakeComplete;
import java.nio.charset.StandardCharsets;

/** One device: every message goes back to it, and to NATS. Ping and close are answered by Netty in front of it. */
final class Device extends SimpleChannelInboundHandler<WebSocketFrame> {
    private final Nats nats;
    private byte[] publish;

    Device(Nats nats) {
        this.nats = nats;
    }

    @Override
    public void userEventTriggered(ChannelHandlerContext context, Object event) {
        if (event instanceof HandshakeComplete) {
            String id = ((HandshakeComplete) event).requestUri().substring("/ws/".length());
            publish = ("PUB devices." + id + ".up ").getBytes(StandardCharsets.US_ASCII);
        }
        context.fireUserEventTriggered(event);
    }

    @Override
    protected void channelRead0(ChannelHandlerContext context, WebSocketFrame message) {
        nats.publish(publish, message.content());
        context.write(message.retain());
    }

    @Override
    public void channelReadComplete(ChannelHandlerContext context) {
        context.flush();
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        context.close();
    }
}
