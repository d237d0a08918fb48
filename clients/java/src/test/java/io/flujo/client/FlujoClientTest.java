package io.flujo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import io.flujo.v1.Run;
import io.grpc.protobuf.StatusProto;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Addresses, credentials, errors and values. */
final class FlujoClientTest {
    @ParameterizedTest
    @ValueSource(strings = {"", "unix:", "tcp://localhost", "tcp://example.org:7777", "tcp://localhost:65536", "tcp://eve@localhost:1", "dns:///localhost:1"})
    void refusesAnAddressThatIsNoneOrNotSafe(String address) {
        assertThrows(IllegalArgumentException.class, () -> FlujoClient.connect(address));
    }

    @ParameterizedTest
    @ValueSource(strings = {"unix:C#/a%41?", "unix:///run/flujo", "tcp://127.0.0.1:7777", "[::1]:7777", "localhost:7777"})
    void takesAnAddress(String address) {
        FlujoClient.connect(address).close();
    }

    @Test
    void refusesOptionsThatDoNotFitEachOther() {
        Path file = Path.of("f");
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withCertificate(file, null));
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withCertificate(file, file));
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withCallTimeout(Duration.ZERO));
        assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withReconnect(Duration.ofSeconds(-1)));
        for (String token : List.of("secret\n", "sécret", "a secret")) {
            Exception error = assertThrows(IllegalArgumentException.class, () -> Options.DEFAULT.withToken(token));
            assertTrue(!error.getMessage().contains("cret"));
        }
        assertTrue(!Options.DEFAULT.withToken("secret").toString().contains("secret"));
    }

    @Test
    void tellsWhatTheServerSaid() {
        ErrorInfo info = ErrorInfo.newBuilder()
                .setDomain("flujo")
                .setReason("INVALID_FIELD")
                .putMetadata("hints", "do this\ndo that")
                .build();
        BadRequest fields = BadRequest.newBuilder()
                .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("name").setDescription("no"))
                .build();
        FlujoException error = FlujoException.of(StatusProto.toStatusRuntimeException(com.google.rpc.Status.newBuilder()
                .setCode(Code.INVALID_ARGUMENT_VALUE)
                .setMessage("a name")
                .addDetails(Any.pack(info))
                .addDetails(Any.pack(fields))
                .build()));
        assertEquals("INVALID_FIELD", error.reason());
        assertEquals("a name", error.getMessage());
        assertEquals(List.of("do this", "do that"), error.hints());
        assertEquals(List.of(new FlujoException.FieldError("name", "no")), error.fields());
    }

    @ParameterizedTest
    @ValueSource(strings = {"18446744073709551615", "[-9223372036854775808,0.1]", "{\"<é\\u0000>\":null}"})
    void keepsDigitsAndText(String text) {
        assertEquals(text, Json.encode(Json.decode(text, JsonNode.class)));
    }

    @Test
    void readsWhatIsLong() {
        for (String text : List.of("9".repeat(4300), '"' + "x".repeat(25_000_000) + '"', "{\"" + "x".repeat(60_000) + "\":1}")) {
            assertEquals(text, Json.encode(Json.decode(text, JsonNode.class)));
        }
    }

    @Test
    void refusesWhatIsNoJson() {
        assertThrows(IllegalArgumentException.class, () -> Json.decode("[1", JsonNode.class));
        assertThrows(IllegalArgumentException.class, () -> Json.encode(new Object()));
    }

    @Test
    void showsAStatusOfANewerServerAsUnknown() {
        assertEquals("completed", Words.status(Run.newBuilder().setStatusValue(5).build()));
        assertEquals("unknown (42)", Words.status(Run.newBuilder().setStatusValue(42).build()));
    }
}
