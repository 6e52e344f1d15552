/** Whoever asks while an answer is being made gets that one: it costs the process the same, however many ask. */
export function shareAnswer<Answer>(make: () => Promise<Answer>): () => Promise<Answer> {
  let making: Promise<Answer> | undefined;
  return () => {
    making ??= make().finally(() => {
      making = undefined;
    });
    return making;
  };
}
