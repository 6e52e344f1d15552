import { DeviceClass } from '../gen/shardkeep/session/v1/session.js';

const BY_PLATFORM: ReadonlyMap<string, DeviceClass> = new Map([
  ['ios', DeviceClass.MOBILE],
  ['android', DeviceClass.MOBILE],
  ['web', DeviceClass.WEB],
  ['windows', DeviceClass.DESKTOP],
  ['macos', DeviceClass.DESKTOP],
  ['linux', DeviceClass.DESKTOP],
  ['playstation', DeviceClass.CONSOLE],
  ['xbox', DeviceClass.CONSOLE],
  ['switch', DeviceClass.CONSOLE],
]);

/** The class of a `platform` in the metadata of a session. */
export function deviceClassOf(platform: string | undefined): DeviceClass {
  return BY_PLATFORM.get(platform ?? '') ?? DeviceClass.UNSPECIFIED;
}
