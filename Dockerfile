# syntax=docker/dockerfile:1
# The image that `make image` makes without a daemon, for those who have one:
#   docker build -t bascule .                                   (this machine's kind)
#   docker buildx build --platform linux/amd64,linux/arm64 .    (several)
FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends protobuf-compiler libprotobuf-dev cmake perl ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# With a target named, the flags hold for the program alone and not for what runs while it is built.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$target" -p bascule \
 && cp "target/$target/release/bascule" /bascule \
 && printf 'root:x:0:0:root:/:/\nbascule:x:65532:65532:bascule:/:/\n' > /passwd \
 && printf 'root:x:0:\nbascule:x:65532:\n' > /group \
 && mkdir -p /var/cache/bascule /var/lib/bascule

FROM scratch
COPY --from=build /passwd /group /etc/
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /var/cache/bascule /var/cache/bascule
COPY --from=build --chown=65532:65532 /var/lib/bascule /var/lib/bascule
COPY --from=build /bascule /bascule
USER 65532:65532
ENTRYPOINT ["/bascule"]
