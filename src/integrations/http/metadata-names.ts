/** What a web client calls the metadata that the service gives a meaning, and what the service calls them. */
export const METADATA_NAMES: ReadonlyMap<string, string> = new Map([
  ['userAgent', 'user_agent'],
  ['deviceId', 'device_id'],
  ['gameVersion', 'game_version'],
]);

/** The other way round. */
export const VIEW_NAMES: ReadonlyMap<string, string> = new Map([...METADATA_NAMES].map(([view, name]) => [name, view]));
