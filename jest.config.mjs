/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/src', '<rootDir>/test'],
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    // what a user of the package imports
    '^shardkeep/client$': '<rootDir>/src/client/index.ts',
    '^shardkeep/(.+)$': '<rootDir>/src/integrations/$1/index.ts',
  },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
  reporters: ['default', '<rootDir>/test/support/totals-reporter.mjs'],
  maxWorkers: 2,
  // modules of a suite are never freed, and a worker whose heap is nearly full does little but collect garbage
  workerIdleMemoryLimit: '1GB',
  forceExit: true,
  testTimeout: 120_000,
  collectCoverageFrom: ['src/**/*.ts', '!src/gen/**', '!src/main.ts'],
  coverageThreshold: {
    './src/cache/': { statements: 80, branches: 80, functions: 80, lines: 80 },
    './src/session/': { statements: 80, branches: 80, functions: 80, lines: 80 },
    './src/lock/': { statements: 80, branches: 80, functions: 80, lines: 80 },
    './src/ratelimit/': { statements: 80, branches: 80, functions: 80, lines: 80 },
  },
};
