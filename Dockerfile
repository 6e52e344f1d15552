# The digests of the bases are for the release to pin: --build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:...
# What a container of it needs is in docs/operations/deploy.md.
ARG NODE_IMAGE=node:24-bookworm-slim
# Node and its libraries alone: no shell, no package manager
ARG RUNTIME_IMAGE=gcr.io/distroless/nodejs24-debian12
ARG GO_IMAGE=golang:1.26-bookworm
ARG GRPC_HEALTH_PROBE_VERSION=v0.4.40

FROM ${NODE_IMAGE} AS deps
WORKDIR /app
COPY package.json package-lock.json ./
# a private registry and its certificates, where there are some; neither stays in the image
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc --mount=type=secret,id=cafile \
    npm ci --ignore-scripts --no-audit --no-fund

FROM deps AS build
COPY buf.yaml buf.gen.yaml tsconfig.json tsconfig.build.json ./
COPY proto proto
COPY scripts scripts
COPY src src
RUN node_modules/.bin/buf generate \
 && node_modules/.bin/tsc -p tsconfig.build.json \
 && node scripts/copy-lua.mjs \
 && find dist -name '*.d.ts' -delete

# The bill of materials: every npm package of the image, and the probe
FROM build AS sbom
ARG GRPC_HEALTH_PROBE_VERSION
RUN node scripts/write-sbom.mjs /sbom.cdx.json \
      github.com/grpc-ecosystem/grpc-health-probe@${GRPC_HEALTH_PROBE_VERSION}

FROM deps AS production-deps
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc --mount=type=secret,id=cafile \
    npm ci --omit=dev --ignore-scripts --no-audit --no-fund

# Built rather than downloaded: the module's checksum is in Go's checksum database. `go install` would ask for the list
# of all versions, which not every module proxy has.
FROM ${GO_IMAGE} AS probe
ARG GRPC_HEALTH_PROBE_VERSION
WORKDIR /probe
RUN --mount=type=secret,id=cafile \
    if [ -s /run/secrets/cafile ]; then export SSL_CERT_FILE=/run/secrets/cafile; fi \
 && go mod init probe \
 && go mod edit -require=github.com/grpc-ecosystem/grpc-health-probe@${GRPC_HEALTH_PROBE_VERSION} \
 && CGO_ENABLED=0 go build -mod=mod -trimpath -buildvcs=false \
      -ldflags="-s -w -X main.versionTag=${GRPC_HEALTH_PROBE_VERSION}" \
      -o /grpc_health_probe github.com/grpc-ecosystem/grpc-health-probe

FROM ${RUNTIME_IMAGE}
WORKDIR /app
COPY --from=probe /grpc_health_probe /usr/local/bin/grpc_health_probe
COPY --from=production-deps /app/node_modules node_modules
COPY package.json LICENSE ./
# reflection reads it
COPY proto proto
COPY --from=build /app/dist dist
COPY --from=sbom /sbom.cdx.json ./
# In production REDIS_URL (or CACHE_ and STATE_REDIS_URL) must be given. So must TLS_CERT_FILE and CREDENTIALS_FILE, as
# these listeners are for others: ALLOW_PLAINTEXT=1 and ALLOW_ANONYMOUS=1 in their stead are for whoever runs it to say.
# The heap follows the memory limit of the container: by itself Node would take more than there is.
ENV NODE_ENV=production \
    NODE_OPTIONS=--max-old-space-size-percentage=70 \
    GRPC_LISTEN=0.0.0.0:50051 \
    HEALTH_LISTEN=0.0.0.0:50052
# nothing of the image belongs to it, and nothing is written: --read-only works
USER 65532:65532
EXPOSE 50051 50052
STOPSIGNAL SIGTERM
# for plain docker; Kubernetes has probes of its own
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["/usr/local/bin/grpc_health_probe", "-addr=127.0.0.1:50052", "-service=liveness"]
ENTRYPOINT ["/nodejs/bin/node", "dist/main.js"]
# last, as they differ with every build
ARG RUNTIME_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="shardkeep" \
      org.opencontainers.image.description="The state sidecar of a multiplayer game: cache, sessions, locks and rate limits over gRPC, atomic on Redis" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${RUNTIME_IMAGE}" \
      io.shardkeep.sbom="/app/sbom.cdx.json"
