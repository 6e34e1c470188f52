# The last stage is the module's image, as Istio loads it:
#
#   BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --platform linux/amd64 --tag keyless .
#
# The stage `dynamic` is Envoy with the dynamic module: `docker build --target dynamic --tag envoy-keyless .`
#
# The stages `gateway` and `local-azure` are what compose.yaml runs. BuildKit and podman can build them; Docker's old
# builder cannot.

# WebAssembly is the same everywhere, so this runs on the builder's own platform, whatever the target.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95.0-bookworm AS module
# The toolchain that the image has, without the components that rust-toolchain.toml wants for tests.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN rustup target add wasm32-wasip1
WORKDIR /keyless
COPY . .
# The builder keeps the crates that cargo downloaded, and what it compiled of them. Our own crates are compiled each time,
# therefore `touch`: cargo compares times, and a changed file can be older than what was compiled before the change.
RUN --mount=type=cache,id=keyless-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=keyless-module,target=/cache,sharing=locked \
    find . -type f -exec touch {} + \
    && CARGO_TARGET_DIR=/cache CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS=-Clink-arg=--compress-relocations \
    cargo build --locked --release --target wasm32-wasip1 -p keyless --lib \
    && install -D -m 644 /cache/wasm32-wasip1/release/keyless.wasm target/wasm32-wasip1/release/keyless.wasm

# Programs, for the target's own platform.
FROM docker.io/library/rust:1.95.0-bookworm AS tools
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /keyless
COPY . .
RUN --mount=type=cache,id=keyless-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=keyless-tools,target=/cache,sharing=locked \
    find . -type f -exec touch {} + \
    && CARGO_TARGET_DIR=/cache CARGO_PROFILE_DEV_DEBUG=0 cargo build --locked -p local-azure -p gateway --bins \
    && install -D /cache/debug/local-azure target/debug/local-azure && /cache/debug/containers > target/envoy.yaml \
    && /cache/debug/containers --dynamic > target/envoy-dynamic.yaml

FROM docker.io/library/debian:bookworm-slim AS local-azure
COPY --from=tools /keyless/target/debug/local-azure /usr/local/bin/local-azure
USER nobody
ENTRYPOINT ["local-azure"]

FROM docker.io/envoyproxy/envoy:v1.40.0 AS gateway
WORKDIR /etc/envoy
# For the repository's own envoy.yaml, mounted over the image's: it names the module from the working folder.
RUN mkdir -p target/wasm32-wasip1/release && ln -s /etc/envoy/keyless.wasm target/wasm32-wasip1/release/keyless.wasm
COPY --from=tools /keyless/target/envoy.yaml /etc/envoy/envoy.yaml
COPY --from=module /keyless/target/wasm32-wasip1/release/keyless.wasm /etc/envoy/keyless.wasm
# The user envoy of that image. From root its entrypoint would change to it, for which it needs capabilities.
USER 101:101
# Envoy writes the access log every ten seconds unless it is told otherwise.
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml", "--file-flush-interval-msec", "10"]

# The dynamic module, for the target's own platform. What it wants of glibc is in 2.35 and later, and it wants no other
# library: so the images of Envoy, of Ubuntu 22.04 and of Debian 12 (distroless), can load it.
FROM docker.io/library/rust:1.95.0-bookworm AS dynamic-module
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /keyless
COPY . .
RUN --mount=type=cache,id=keyless-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=keyless-dynamic-module,target=/cache,sharing=locked \
    find . -type f -exec touch {} + \
    && CARGO_TARGET_DIR=/cache cargo build --locked --release --manifest-path dynamic-module/Cargo.toml \
    && install -D -m 644 /cache/release/libkeyless_dynamic_module.so target/release/libkeyless_dynamic_module.so

FROM docker.io/envoyproxy/envoy:v1.40.0 AS dynamic
COPY --from=dynamic-module /keyless/target/release/libkeyless_dynamic_module.so /usr/local/lib/envoy/libkeyless_dynamic_module.so
ENV ENVOY_DYNAMIC_MODULES_SEARCH_PATH=/usr/local/lib/envoy
USER 101:101
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml", "--file-flush-interval-msec", "10"]

FROM scratch
COPY --from=module /keyless/target/wasm32-wasip1/release/keyless.wasm /plugin.wasm
