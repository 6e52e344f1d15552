import { DeviceClass } from '../gen/shardkeep/session/v1/session.js';

const BY_PLATFORM: ReadonlyMap<string, KnownDeviceClass> = new Map([
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

/** What a policies file calls them. */
export const DEVICE_CLASS_NAMES = {
  [DeviceClass.UNSPECIFIED]: 'other',
  [DeviceClass.MOBILE]: 'mobile',
  [DeviceClass.WEB]: 'web',
  [DeviceClass.DESKTOP]: 'desktop',
  [DeviceClass.CONSOLE]: 'console',
} as const satisfies Partial<Record<DeviceClass, string>>;

export type KnownDeviceClass = keyof typeof DEVICE_CLASS_NAMES;

const CLASSES = [
  DeviceClass.UNSPECIFIED,
  DeviceClass.MOBILE,
  DeviceClass.WEB,
  DeviceClass.DESKTOP,
  DeviceClass.CONSOLE,
] as const;

/** The class of a number in a record; a newer service may know more of them. */
export function deviceClassOfNumber(number: number): KnownDeviceClass {
  return CLASSES[number] ?? DeviceClass.UNSPECIFIED;
}

/** The class of a `platform` in the metadata of a session. */
export function deviceClassOf(platform: string | undefined): KnownDeviceClass {
  return BY_PLATFORM.get(platform?.toLowerCase() ?? '') ?? DeviceClass.UNSPECIFIED;
}
