package io.flujo.client;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;

/** Reads and writes JSON text with Jackson. In a JsonNode whole numbers keep all their digits. */
public final class Json {
    /** A value of flujo may be longer than what Jackson takes for an attack; how long and deep it may be says the server. */
    private static final StreamReadConstraints UNBOUNDED = StreamReadConstraints.builder()
            .maxNumberLength(Integer.MAX_VALUE)
            .maxStringLength(Integer.MAX_VALUE)
            .maxNameLength(Integer.MAX_VALUE)
            .build();

    private static final ObjectMapper MAPPER = JsonMapper.builder(
                    JsonFactory.builder().streamReadConstraints(UNBOUNDED).build())
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    private Json() {}

    /** Returns a value as JSON text. Throws IllegalArgumentException for what Jackson cannot write. */
    public static String encode(Object value) {
        try {
            return MAPPER.writeValueAsString(value);
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException("not to be written as JSON: " + error.getOriginalMessage(), error);
        }
    }

    /** Returns the value in JSON text. Throws IllegalArgumentException for text that is none of this type. */
    public static <T> T decode(String text, Class<T> type) {
        try {
            return MAPPER.readValue(text, type);
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException("not to be read as " + type + ": " + error.getOriginalMessage(), error);
        }
    }

    /** Returns the value in JSON text. Throws IllegalArgumentException for text that is none of this type. */
    public static <T> T decode(String text, TypeReference<T> type) {
        try {
            return MAPPER.readValue(text, type);
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException("not to be read as " + type.getType() + ": " + error.getOriginalMessage(), error);
        }
    }
}
