import type { Response } from 'express';
import type { HttpFailure } from '../http/failure.js';

export function sendFailure(response: Response, { statusCode, code, fields, retryAfterSeconds }: HttpFailure): void {
  // somebody else was faster, such as a middleware that bounds the time of a request
  if (response.headersSent) return;
  if (retryAfterSeconds !== undefined) response.set('Retry-After', String(retryAfterSeconds));
  response.status(statusCode).json({ success: false, error: { code, ...(fields !== undefined && { fields }) } });
}
