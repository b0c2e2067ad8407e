# Two static binaries and nothing else: no shell, no libc, no root.
#   docker build -t tidegate .
#   docker run --rm --network host tidegate                              gateway on this machine's loopback
#   docker run --rm --network host --read-only --cap-drop ALL --security-opt no-new-privileges tidegate      the same, and it may write its data only
#   docker run --rm --network host --entrypoint devices-sim tidegate run --devices 1000
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/usr/bin/gateway ./cmd/gateway \
 && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/usr/bin/devices-sim ./devices-sim \
 && mkdir -p /out/etc/ssl/certs /out/var/lib/tidegate /out/tmp /out/usr/share/tidegate \
 && /out/usr/bin/gateway version --sbom > /out/usr/share/tidegate/sbom.cdx.json \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && printf 'tidegate:x:65532:65532::/var/lib/tidegate:/sbin/nologin\n' > /out/etc/passwd \
 && printf 'tidegate:x:65532:\n' > /out/etc/group \
 && chown -R 65532:65532 /out/var/lib/tidegate /out/tmp

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
WORKDIR /var/lib/tidegate
ENV PATH=/usr/bin GATEWAY_DATA=/var/lib/tidegate
VOLUME /var/lib/tidegate
EXPOSE 1883 8083 8080 4222
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
