import { policiesFileSchema, type PoliciesFile } from './policies.js';
import { parseYamlFile, readYamlFile, type Complain } from './yaml-file.js';

const SETTING = 'POLICIES_FILE';

/** The text of the policies file; throws ConfigError. */
export function readPoliciesFile(path: string): string {
  return readYamlFile(SETTING, path);
}

/**
 * Parses the policies file; throws ConfigError with every problem, each with the file's name and the line. `check` looks at
 * what the schema cannot see.
 */
export function parsePoliciesFile(
  path: string,
  text: string,
  check: (file: PoliciesFile, complain: Complain) => void,
): PoliciesFile {
  return parseYamlFile(path, text, { setting: SETTING, schema: policiesFileSchema, mayQuote: true, check });
}
