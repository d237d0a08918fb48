package io.flujo.client;

import java.nio.file.Path;
import java.time.Duration;

/**
 * What a client shows a server, and how long it waits. Nothing is needed on a unix socket.
 *
 * @param token shown to a server that listens on TCP, or null
 * @param authority file with the authority that has signed the server's certificate, which turns TLS on, or null
 * @param certificate file with a certificate of the client's own, for a server that asks for one, or null
 * @param key file with its key, or null
 * @param callTimeout bounds each call but those that follow a run; null for no bound
 * @param reconnect how long those look for a server that has gone
 */
public record Options(
        String token, Path authority, Path certificate, Path key, Duration callTimeout, Duration reconnect) {
    /** No credentials, 30 seconds for a call, 60 seconds to reconnect. */
    public static final Options DEFAULT =
            new Options(null, null, null, null, Duration.ofSeconds(30), Duration.ofSeconds(60));

    /** Checks that they fit each other. */
    public Options {
        if (token != null && !token.matches("[!-~]*")) {
            throw new IllegalArgumentException("a token is visible ASCII characters only;"
                    + " strip the end of the line from one that was read from a file");
        }
        if ((certificate == null) != (key == null)) {
            throw new IllegalArgumentException("a certificate and its key go together");
        }
        if (certificate != null && authority == null) {
            throw new IllegalArgumentException("a certificate needs TLS; name the authority of the server as well");
        }
        if (callTimeout != null && (callTimeout.isNegative() || callTimeout.isZero())) {
            throw new IllegalArgumentException("callTimeout is above 0, or null for no bound");
        }
        if (reconnect.isNegative() || reconnect.isZero()) {
            throw new IllegalArgumentException("reconnect is above 0");
        }
    }

    /** Returns these with a token. */
    public Options withToken(String shown) {
        return new Options(shown, authority, certificate, key, callTimeout, reconnect);
    }

    /** Returns these with TLS, to a server whose certificate this authority has signed. */
    public Options withTls(Path trusted) {
        return new Options(token, trusted, certificate, key, callTimeout, reconnect);
    }

    /** Returns these with a certificate of the client's own. */
    public Options withCertificate(Path shown, Path itsKey) {
        return new Options(token, authority, shown, itsKey, callTimeout, reconnect);
    }

    /** Returns these with another bound for calls; null for none. */
    public Options withCallTimeout(Duration bound) {
        return new Options(token, authority, certificate, key, bound, reconnect);
    }

    /** Returns these with another time to look for a server that has gone. */
    public Options withReconnect(Duration longest) {
        return new Options(token, authority, certificate, key, callTimeout, longest);
    }

    /** Hides the token: it belongs into no log. */
    @Override
    public String toString() {
        return "Options[token=" + (token == null ? null : "…") + ", authority=" + authority + "]";
    }
}
