/** The layers: handler -> store -> script, and who may know gRPC and Redis. */

const SERVICE = '^src/(cache|session|lock|ratelimit)/';
const GRPC_PACKAGES = '^node_modules/(@grpc/|grpc-health-check/)';
const REDIS_PACKAGES = '^node_modules/(redis|@redis)/';

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      from: { pathNot: '^src/gen/' },
      to: { circular: true },
    },
    {
      name: 'services-stay-apart',
      comment: 'What two services need lives in src/redis or src/grpc.',
      severity: 'error',
      from: { path: SERVICE },
      to: { path: SERVICE, pathNot: '^src/$1/' },
    },
    {
      name: 'only-grpc-knows-grpc-js',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(grpc|gen|client)/' },
      to: { path: GRPC_PACKAGES },
    },
    {
      name: 'only-redis-knows-node-redis',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/redis/' },
      to: { path: REDIS_PACKAGES },
    },
    {
      name: 'stores-know-nothing-of-grpc',
      severity: 'error',
      from: { path: '^src/[^/]+/([a-z-]*store|scripts)\\.ts$' },
      to: { path: '^src/grpc/' },
    },
    {
      name: 'handlers-never-touch-redis',
      severity: 'error',
      from: { path: '^src/[^/]+/[a-z-]*handlers\\.ts$' },
      to: { path: [REDIS_PACKAGES, '^src/redis/(connection|redis|roles)\\.ts$'] },
    },
    {
      name: 'redis-is-below-all',
      severity: 'error',
      from: { path: '^src/redis/' },
      to: { path: ['^src/grpc/', SERVICE] },
    },
    {
      name: 'the-client-stands-alone',
      comment: 'It is published by itself; with the service it shares the contract and the wire format.',
      severity: 'error',
      from: { path: '^src/client/' },
      to: { path: '^src/', pathNot: '^src/(client|gen|wire)/' },
    },
    {
      name: 'the-service-needs-no-client',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(client|integrations)/' },
      to: { path: '^src/(client|integrations)/' },
    },
    {
      name: 'integrations-use-what-is-published',
      comment:
        'They are published beside the client; what they need of it, others may need. How options are checked, and what is said where nobody gave a logger, is theirs as well.',
      severity: 'error',
      from: { path: '^src/integrations/' },
      to: { path: '^src/', pathNot: '^src/(client/(index|option-checks|warning-logger)\\.ts$|integrations/)' },
    },
    {
      name: 'an-integration-knows-its-framework',
      comment: 'And no other: who uses one of them has no other installed. `http` is what they share.',
      severity: 'error',
      from: { path: '^src/integrations/([^/]+)/' },
      to: {
        path: '^(src/integrations|node_modules)/',
        pathNot: [
          '^src/integrations/($1|http)/',
          '^node_modules/(@types/)?$1(-plugin)?/',
          '^node_modules/@types/node/',
        ],
      },
    },
    {
      name: 'the-wire-format-is-below-all',
      severity: 'error',
      from: { path: '^src/wire/' },
      to: { path: '^src/', pathNot: '^src/wire/' },
    },
    {
      name: 'the-product-never-imports-its-tests',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|examples|scripts|bench)/' },
    },
    {
      name: 'no-unresolvable',
      severity: 'error',
      from: {},
      // scripts/run.mjs runs what is built
      to: { couldNotResolve: true, pathNot: '^\\.\\./dist/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
};
