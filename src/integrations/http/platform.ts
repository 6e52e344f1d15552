export type Platform = 'ios' | 'android' | 'web' | 'desktop' | 'console';

/** In this order: browsers of consoles and tablets name other systems too, and Android names Linux. */
const PLATFORMS: readonly (readonly [RegExp, Platform])[] = [
  [/PlayStation|Xbox|Nintendo/i, 'console'],
  [/iPhone|iPad|iPod|CFNetwork|\biOS\b/i, 'ios'],
  [/Android|okhttp/i, 'android'],
  [/UnityPlayer|UnrealEngine|GodotEngine|\bElectron\//i, 'desktop'],
  [/Mozilla\/|Opera\//i, 'web'],
];

/** What kind of device a User-Agent tells of; undefined where it tells nothing. Anybody may send any: it is a hint, no proof. */
export function platformOf(userAgent: string | undefined): Platform | undefined {
  if (userAgent === undefined) return undefined;
  return PLATFORMS.find(([pattern]) => pattern.test(userAgent))?.[1];
}
