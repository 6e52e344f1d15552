import type { Response } from 'express';

export function sendJson(response: Response, statusCode: number, body: object): void {
  // somebody else was faster, such as a middleware that bounds the time of a request
  if (!response.headersSent) response.status(statusCode).json(body);
}
