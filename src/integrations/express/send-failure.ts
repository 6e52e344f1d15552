import type { Response } from 'express';
import type { HttpFailure } from '../http/failure.js';

export function sendFailure(response: Response, { statusCode, code, fields, retryAfterSeconds }: HttpFailure): void {
  if (retryAfterSeconds !== undefined) response.set('Retry-After', String(retryAfterSeconds));
  response.status(statusCode).json({ success: false, error: { code, ...(fields !== undefined && { fields }) } });
}
