/**
 * A client of a flujo server, which runs workflows whose steps survive crashes: see {@link io.flujo.client.FlujoClient}.
 */
package io.flujo.client;
