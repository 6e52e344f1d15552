import type { Worker } from 'node:cluster';
import type { ProcessHealth } from './admin/health-report.js';
import type { WorkerMessage, WorkerQuestion } from './worker-message.js';

/** A worker that says nothing for so long hangs; its Redis has half a second of that. */
const ANSWER_WITHIN_MS = 2_000;

let questions = 0;

/** What a worker says of itself; undefined where it says nothing in time, or goes. */
export function askForHealth(worker: Worker, withRedis: boolean): Promise<ProcessHealth | undefined> {
  const question = ++questions;
  return new Promise((resolve) => {
    const done = (health?: ProcessHealth): void => {
      clearTimeout(timer);
      worker.off('message', onMessage);
      worker.off('disconnect', onGone);
      resolve(health);
    };
    const onGone = (): void => {
      done();
    };
    const onMessage = (message: WorkerMessage): void => {
      if (message.kind === 'health' && message.question === question) done(message.health);
    };
    const timer = setTimeout(done, ANSWER_WITHIN_MS);
    worker.on('message', onMessage);
    worker.once('disconnect', onGone);
    worker.send({ ask: 'health', question, withRedis } satisfies WorkerQuestion, (error) => {
      if (error !== null) done();
    });
  });
}
