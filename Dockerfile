# The server as a container image: one static program, the containerd shim, and nothing else.
#   docker build -t sterna .                                    this machine's CPU family
#   docker buildx build --platform linux/amd64,linux/arm64 .    both, compiled by the builder's own
# One program has the kernels of every instruction set and chooses at start, so there are no images
# per CPU. A model comes in a layer of its own: `sterna image` writes such images without Docker,
# and smaller steps than this file. The builder's machine, whatever the image's: nothing is compiled
# under emulation.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev libseccomp-dev pkg-config protobuf-compiler \
 && rm -rf /var/lib/apt/lists/* \
 && rustup target add wasm32-wasip2
WORKDIR /src
# The needs of compiling for another machine; nothing where the image is for the builder's
# own.
ARG TARGETARCH
COPY scripts/apt.sh scripts/cross.sh scripts/
RUN ARCH=$TARGETARCH scripts/cross.sh
COPY . .
# `--build-arg PROFILE=ci` builds sooner, with assertions: to try a change.
ARG PROFILE=release
# The caches stay with the builder: a change to the source does not compile wasmtime again.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    export ARCH=$TARGETARCH \
 && sterna=$(scripts/static.sh "$PROFILE") && shim=$(scripts/shim.sh "$PROFILE") && cp "$sterna" "$shim" /

FROM scratch
# The shim is for k8s/shim, which installs both on nodes.
COPY --from=build /sterna /containerd-shim-sterna-v1 /
# Not root. The number is distroless' "nonroot"; nothing in the image depends on it.
USER 65532:65532
ENV STERNA_LISTEN=0.0.0.0:8080
EXPOSE 8080
# `up` serves /app.cwasm, /app.wasm or /model.gguf, from a layer or a volume, and without them the
# demo model inside the program.
ENTRYPOINT ["/sterna"]
CMD ["up"]
