package io.flujo.client;

import com.google.protobuf.Internal.EnumLite;
import io.flujo.v1.Run;
import java.util.Locale;

/** Says values of enums as flujo says them everywhere. */
public final class Words {
    private Words() {}

    /** Returns where a run stands: "completed". A status of a newer server is "unknown (42)". */
    public static String status(Run run) {
        return word(run.getStatus(), run.getStatusValue(), "RUN_STATUS_");
    }

    static <E extends Enum<E> & EnumLite> String word(E value, int number, String prefix) {
        String name = value.name();
        return number == 0 || !name.startsWith(prefix)
                ? "unknown (" + number + ")"
                : name.substring(prefix.length()).toLowerCase(Locale.ROOT);
    }
}
