import { performance } from 'node:perf_hooks';
import { expect, test } from '@jest/globals';
import { noLaterThan } from '../../../src/client/locks/no-later-than.js';

const FAR = performance.now() + 3_600_000;

test('what is not done in time is not waited for', async () => {
  const deadlineAt = performance.now() + 20;
  await noLaterThan(deadlineAt, new Promise<void>(() => undefined));
  // a timer counts in whole milliseconds
  expect(performance.now()).toBeGreaterThan(deadlineAt - 1);
});

test('what is done in time is waited for, and fails as it fails', async () => {
  let isDone = false;
  const work = new Promise<void>((resolve) => {
    setImmediate(() => {
      isDone = true;
      resolve();
    });
  });
  await noLaterThan(FAR, work);
  expect(isDone).toBe(true);
  await expect(noLaterThan(Infinity, Promise.reject(new Error('failed')))).rejects.toBeInstanceOf(Error);
});

test('what fails when nobody waits any more is nobody’s', async () => {
  let fail: (error: Error) => void = () => undefined;
  const work = new Promise<void>((_, reject) => {
    fail = reject;
  });
  await noLaterThan(performance.now(), work);
  fail(new Error('late'));
  await new Promise(setImmediate);
  expect(performance.now()).toBeLessThan(FAR);
});
