package io.flujo.client;

import io.flujo.v1.RunServiceGrpc;
import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import io.netty.channel.Channel;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.kqueue.KQueue;
import io.netty.channel.kqueue.KQueueDomainSocketChannel;
import io.netty.channel.kqueue.KQueueEventLoopGroup;
import io.netty.channel.unix.DomainSocketAddress;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** One connection to a server; it is made with the first call. */
final class Connection {
    private static final Pattern TCP = Pattern.compile("(?:tcp://)?(\\[[0-9A-Fa-f:.]+]|[\\w.-]+):(\\d{1,5})/?");
    private static final Pattern LOOPBACK = Pattern.compile("localhost|127\\.\\d+\\.\\d+\\.\\d+|\\[::1]");
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    final ManagedChannel channel;
    private final EventLoopGroup loops; // of this connection alone, or null

    private Connection(NettyChannelBuilder builder, EventLoopGroup loops, Options options) {
        if (options.token() != null) {
            Metadata shown = new Metadata();
            shown.put(AUTHORIZATION, "Bearer " + options.token());
            builder.intercept(MetadataUtils.newAttachHeadersInterceptor(shown));
        }
        // A path that has gone dead is noticed. Servers allow a ping each 10 s.
        builder.keepAliveTime(20, TimeUnit.SECONDS).keepAliveTimeout(10, TimeUnit.SECONDS).keepAliveWithoutCalls(true);
        this.channel = builder.build();
        this.loops = loops;
    }

    /** Returns a connection to {@code unix:PATH} or {@code tcp://HOST:PORT}. */
    static Connection open(String address, Options options) {
        if (address.startsWith("unix:") && address.length() > "unix:".length()) {
            String path = address.substring("unix:".length());
            return unix(path.startsWith("///") ? path.substring(2) : path, options);
        }
        Matcher tcp = TCP.matcher(address);
        if (!tcp.matches() || Integer.parseInt(tcp.group(2)) > 65_535) {
            throw new IllegalArgumentException("'" + address + "' is neither unix:PATH nor tcp://HOST:PORT");
        }
        if (options.authority() == null && !LOOPBACK.matcher(tcp.group(1)).matches()) {
            throw new IllegalArgumentException("without TLS everybody on the way to " + tcp.group(1)
                    + " reads and changes what is sent; see Options.withTls");
        }
        String host = tcp.group(1).replaceAll("[\\[\\]]", "");
        int port = Integer.parseInt(tcp.group(2));
        return new Connection(NettyChannelBuilder.forAddress(host, port, credentials(options)), null, options);
    }

    private static Connection unix(String path, Options options) {
        boolean linux = Epoll.isAvailable();
        if (!linux && !KQueue.isAvailable()) {
            throw new IllegalArgumentException("unix sockets need epoll of Linux or kqueue of macOS", Epoll.unavailabilityCause());
        }
        EventLoopGroup loops = linux ? new EpollEventLoopGroup(1) : new KQueueEventLoopGroup(1);
        Class<? extends Channel> kind = linux ? EpollDomainSocketChannel.class : KQueueDomainSocketChannel.class;
        NettyChannelBuilder builder = NettyChannelBuilder.forAddress(
                        new DomainSocketAddress(path), InsecureChannelCredentials.create())
                .overrideAuthority("localhost")
                .channelType(kind, DomainSocketAddress.class)
                .eventLoopGroup(loops);
        return new Connection(builder, loops, options);
    }

    private static ChannelCredentials credentials(Options options) {
        if (options.authority() == null) {
            return InsecureChannelCredentials.create();
        }
        try {
            TlsChannelCredentials.Builder builder =
                    TlsChannelCredentials.newBuilder().trustManager(options.authority().toFile());
            if (options.certificate() != null) {
                builder.keyManager(options.certificate().toFile(), options.key().toFile());
            }
            return builder.build();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    RunServiceGrpc.RunServiceBlockingStub runs() {
        return RunServiceGrpc.newBlockingStub(channel);
    }

    /** Ends it. Calls under way fail. */
    void close() {
        channel.shutdownNow();
        if (loops != null) {
            loops.shutdownGracefully(0, 1, TimeUnit.SECONDS);
        }
    }
}
