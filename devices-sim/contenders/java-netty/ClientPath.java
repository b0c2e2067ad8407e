import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.util.regex.Pattern;

/** Lets one request pass whose path names a device, and leaves the pipeline. */
final class ClientPath extends ChannelInboundHandlerAdapter {
    private static final Pattern PATH = Pattern.compile("/ws/[A-Za-z0-9_-]{1,128}");

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        var request = (FullHttpRequest) message;
        if (PATH.matcher(request.uri()).matches()) {
            context.fireChannelRead(request);
            context.pipeline().remove(this);
            return;
        }
        request.release();
        var answer = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.NOT_FOUND, Unpooled.EMPTY_BUFFER);
        context.writeAndFlush(answer).addListener(ChannelFutureListener.CLOSE);
    }
}
