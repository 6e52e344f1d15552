import { ConfigError } from './config-error.js';
import { credentialsFileSchema, MAX_NAMESPACES, type CredentialsFile } from './credentials.js';
import type { FileCopy } from './file-copy.js';
import { isMeant, RPC_NAMES } from './rpc-names.js';
import { parseYamlFile, readYamlFile, type Complain } from './yaml-file.js';

const SETTING = 'CREDENTIALS_FILE';

export interface CredentialsSourceOptions {
  /** What is taken where the file cannot be used; whoever watches the file then finds that it is another. */
  readonly copy: FileCopy | undefined;
  /** Whether all callers share something that no namespace is part of, so that there may be only one of them. */
  readonly oneNamespace: boolean;
}

/** The credentials file. */
export class CredentialsSource {
  private constructor(
    readonly path: string,
    /** What was in it, or in the copy. */
    readonly text: string,
    /** What came into force last. */
    readonly copy: FileCopy | undefined,
    readonly isCopied: boolean,
    private readonly oneNamespace: boolean,
  ) {}

  /** Throws ConfigError for a file that cannot be used. */
  static read(path: string, { copy, oneNamespace }: CredentialsSourceOptions): CredentialsSource {
    try {
      const source = new CredentialsSource(path, readYamlFile(SETTING, path), copy, false, oneNamespace);
      source.parse(source.text);
      return source;
    } catch (error) {
      if (copy === undefined || !(error instanceof ConfigError)) throw error;
      return new CredentialsSource(path, readYamlFile(SETTING, copy.path), copy, true, oneNamespace);
    }
  }

  /** Throws ConfigError naming everything that is wrong, with the file and the line, and nothing that may be a secret. */
  parse(text: string): CredentialsFile {
    return parseYamlFile(this.path, text, {
      setting: SETTING,
      schema: credentialsFileSchema,
      // who writes a token where its hash belongs must not find it in the log
      mayQuote: false,
      check: (file, complain) => {
        checkPrincipals(file, complain);
        if (this.oneNamespace && namespacesOf(file).length > 1) {
          complain(
            ['principals'],
            'must share one namespace: locks of redlock (LOCK_COMPATIBLE) are outside all of them',
          );
        }
      },
    });
  }
}

/** Each once, in the order of the file. */
export function namespacesOf({ principals }: CredentialsFile): readonly string[] {
  return [...new Set(principals.flatMap(({ namespaces }) => namespaces))];
}

function checkPrincipals(file: CredentialsFile, complain: Complain): void {
  const names = new Set<string>();
  const credentials = new Set<string>();
  const isTaken = (taken: Set<string>, id: string): boolean => taken.size === taken.add(id).size;
  file.principals.forEach(({ name, tokens, certificates, rpcs = [] }, index) => {
    const at = ['principals', index];
    if (isTaken(names, name)) complain([...at, 'name'], 'is the name of another principal');
    tokens.forEach(({ sha256 }, place) => {
      if (isTaken(credentials, sha256)) complain([...at, 'tokens', place, 'sha256'], 'is there a second time');
    });
    certificates.forEach((id, place) => {
      if (isTaken(credentials, id)) complain([...at, 'certificates', place], 'is there a second time');
    });
    rpcs.forEach((pattern, place) => {
      if (![...RPC_NAMES].some((rpc) => isMeant(rpc, pattern)))
        complain([...at, 'rpcs', place], 'no RPC has this name');
    });
  });
  if (namespacesOf(file).length > MAX_NAMESPACES) {
    complain(['principals'], `must not have more than ${String(MAX_NAMESPACES)} namespaces in all`);
  }
}
