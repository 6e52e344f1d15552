import { TRACK_ONLY_CEILING } from '../config/defaults.js';
import type { ProfileSettings } from '../config/policies.js';
import { invalidField, type DomainError } from '../errors.js';
import { unknownName } from '../unknown-name.js';

/** What a profile means for one session. */
export interface SessionTerms {
  readonly profile: string;
  readonly idleTtlMs: number;
  /** 0: none. */
  readonly absoluteTtlMs: number;
  readonly touchGranularityMs: number;
  readonly maxSessions: number;
  readonly atLimit: ProfileSettings['at_limit'];
  readonly maxSessionsByDeviceClass: ProfileSettings['max_sessions_by_device_class'];
  readonly rotationGraceMs: number;
  /** 0: none. */
  readonly renewalTtlMs: number;
  readonly binding: ProfileSettings['binding'];
}

export const DEFAULT_PROFILE = 'default';

/** A deadline is padded by the granularity, so it may be at most this part of the idle TTL. */
const GRANULARITY_PART = 20;

export class Profiles {
  constructor(private settings: Readonly<Record<string, ProfileSettings>>) {}

  /** From now on these. Sessions that are there keep the terms that they were created under. */
  replace(settings: Readonly<Record<string, ProfileSettings>>): void {
    this.settings = settings;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.settings, name || DEFAULT_PROFILE);
  }

  /** The error of a request whose `profile` there is not. */
  unknownProfile(name: string): DomainError {
    const names = Object.keys(this.settings).toSorted();
    return invalidField('profile', unknownName('profile', name || DEFAULT_PROFILE, names));
  }

  /** The terms of a profile ('' is `default`), with another idle TTL where one is given. */
  terms(name: string, idleTtlMs: number | undefined): SessionTerms {
    const profile = name || DEFAULT_PROFILE;
    const settings = this.has(profile) ? this.settings[profile] : undefined;
    // it may have been taken away since the request was checked
    if (settings === undefined) throw this.unknownProfile(profile);
    const idle = idleTtlMs ?? settings.idle_ttl_ms;
    return {
      profile,
      idleTtlMs: idle,
      absoluteTtlMs: settings.absolute_ttl_ms,
      touchGranularityMs: Math.min(settings.touch_granularity_ms, Math.floor(idle / GRANULARITY_PART)),
      maxSessions: settings.max_sessions === 0 ? TRACK_ONLY_CEILING : settings.max_sessions,
      atLimit: settings.at_limit,
      maxSessionsByDeviceClass: settings.max_sessions_by_device_class,
      rotationGraceMs: settings.rotation_grace_ms,
      renewalTtlMs: settings.renewal_ttl_ms,
      binding: settings.binding,
    };
  }
}
