package io.flujo.client;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;

/** Reads and writes JSON text with Jackson. In a JsonNode whole numbers keep all their digits. */
public final class Json {
    private static final ObjectMapper MAPPER = JsonMapper.builder()
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
