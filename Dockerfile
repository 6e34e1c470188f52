# The last stage is the module's image, as Istio loads it:
#
#   docker build --platform linux/amd64 --provenance=false --tag keyless .
#
# The stages `gateway` and `local-azure` are what compose.yaml runs.

# WebAssembly is the same everywhere, so this runs on the builder's own platform, whatever the target.
FROM --platform=$BUILDPLATFORM rust:1.95.0-bookworm AS source
# The toolchain that the image has, without the components that rust-toolchain.toml wants for tests.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /keyless
COPY . .

FROM source AS module
RUN rustup target add wasm32-wasip1 \
    && cargo build --locked --release --target wasm32-wasip1 -p keyless --lib

FROM source AS tools
RUN cargo build --locked -p local-azure -p gateway --bins \
    && target/debug/containers > target/envoy.yaml

FROM debian:bookworm-slim AS local-azure
COPY --from=tools /keyless/target/debug/local-azure /usr/local/bin/local-azure
USER nobody
ENTRYPOINT ["local-azure"]

FROM envoyproxy/envoy:v1.40.0 AS gateway
COPY --from=tools /keyless/target/envoy.yaml /etc/envoy/envoy.yaml
COPY --from=module /keyless/target/wasm32-wasip1/release/keyless.wasm /etc/envoy/keyless.wasm

FROM scratch
COPY --from=module /keyless/target/wasm32-wasip1/release/keyless.wasm /plugin.wasm
