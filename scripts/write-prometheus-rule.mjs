// Writes k8s/monitoring/prometheus-rule.yaml, which the Prometheus operator takes, from rules.yaml, which Prometheus takes.
import { readFileSync, writeFileSync } from 'node:fs';

const FOLDER = new URL('../k8s/monitoring/', import.meta.url);
const HEAD = `# Written by scripts/write-prometheus-rule.mjs from rules.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: shardkeep
  labels:
    app.kubernetes.io/name: shardkeep
spec:
`;

const rules = readFileSync(new URL('rules.yaml', FOLDER), 'utf8')
  .split('\n')
  .filter((line) => !line.startsWith('#'))
  .map((line) => (line === '' ? line : `  ${line}`));
writeFileSync(new URL('prometheus-rule.yaml', FOLDER), HEAD + rules.join('\n'));
