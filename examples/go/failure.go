package main

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is what a program decides by when a call failed. The message of a status is for people.
type failure struct {
	code codes.Code
	// A code of docs/errors.md. Empty where the call itself failed: no service was reached, its time was over.
	reason   string
	metadata map[string]string
	// When a retry can succeed. 0: not said.
	retryAfter time.Duration
}

// failureOf answers the zero failure (codes.OK) for nil.
func failureOf(err error) failure {
	state := status.Convert(err)
	found := failure{code: state.Code()}
	for _, detail := range state.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			// one of another domain is of somebody in between
			if detail.Domain == "shardkeep" {
				found.reason, found.metadata = detail.Reason, detail.Metadata
			}
		case *errdetails.RetryInfo:
			found.retryAfter = detail.RetryDelay.AsDuration()
		}
	}
	return found
}

func (f failure) String() string {
	if f.reason == "" {
		return f.code.String()
	}
	return f.code.String() + " " + f.reason
}
