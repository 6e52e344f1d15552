const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/**
 * Times to live by level, in milliseconds. Application: configuration and reference data, as permission maps. Feature: profiles,
 * answers, computed results. What is for one request only needs no key: see `Cache.memo`.
 */
export const TtlMs = {
  application: { production: HOUR_MS, development: 5 * MINUTE_MS },
  feature: { short: 5 * MINUTE_MS, medium: 30 * MINUTE_MS, long: HOUR_MS },
} as const;
