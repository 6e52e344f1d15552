package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	sessionv1 "example.com/shardkeep/gen/shardkeep/session/v1"
)

const reconnectDelay = 200 * time.Millisecond

// players are those connected to this game server, by session. It is told of every end, also of those that came while the
// stream was broken.
type players struct {
	sessions sessionv1.SessionServiceClient
	// Who reads it must keep up: the watch waits for them.
	ended     chan endedSession
	mutex     sync.Mutex
	connected map[string]struct{}
}

type endedSession struct{ id, reason string }

func newPlayers(sessions sessionv1.SessionServiceClient) *players {
	return &players{
		sessions:  sessions,
		ended:     make(chan endedSession, 16),
		connected: make(map[string]struct{}),
	}
}

func (p *players) add(sessionID string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.connected[sessionID] = struct{}{}
}

// watch closes `watching` once events are told, and lasts until ctx ends, or fails when no stream could be opened before. One
// that breaks later is opened again where it was.
func (p *players) watch(
	ctx context.Context, request *sessionv1.WatchSessionsRequest, watching chan<- struct{},
) error {
	isWatching := false
	for {
		err := p.follow(ctx, request, func() {
			if !isWatching {
				close(watching)
				isWatching = true
			}
		})
		if !isWatching || ctx.Err() != nil {
			return err
		}
		failed := failureOf(err)
		fmt.Fprintln(os.Stderr, "the watch is opened again:", failed)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(reconnectDelay, failed.retryAfter)):
		}
	}
}

// follow reads one stream to its end, and leaves in the request where the next one has to begin.
func (p *players) follow(ctx context.Context, request *sessionv1.WatchSessionsRequest, onMessage func()) error {
	// a return for another reason than the stream's end ends the stream
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.sessions.WatchSessions(ctx, request)
	if err != nil {
		return err
	}
	for {
		told, err := stream.Recv()
		if err != nil {
			return err
		}
		if told.Resync {
			if err := p.lookAgain(ctx); err != nil {
				return err
			}
		}
		for _, event := range told.Events {
			if isEnd(event.Type) {
				p.end(event.SessionId, event.Reason)
			}
		}
		// an empty one: the last still holds
		if len(told.Cursor) > 0 {
			request.Cursor = told.Cursor
		}
		onMessage()
	}
}

func isEnd(event sessionv1.SessionEventType) bool {
	switch event {
	case sessionv1.SessionEventType_SESSION_EVENT_TYPE_DESTROYED,
		sessionv1.SessionEventType_SESSION_EVENT_TYPE_EXPIRED,
		sessionv1.SessionEventType_SESSION_EVENT_TYPE_EVICTED,
		sessionv1.SessionEventType_SESSION_EVENT_TYPE_THEFT:
		return true
	default:
		return false
	}
}

// lookAgain finds the sessions whose ends were not told.
func (p *players) lookAgain(ctx context.Context) error {
	p.mutex.Lock()
	var sessionIDs []string
	for sessionID := range p.connected {
		sessionIDs = append(sessionIDs, sessionID)
	}
	p.mutex.Unlock()
	for _, sessionID := range sessionIDs {
		_, err := p.sessions.GetSession(ctx, &sessionv1.GetSessionRequest{SessionId: sessionID})
		if err == nil {
			continue
		}
		// any other failure ends the stream; the next one begins at the old cursor, and is told to resync again
		if failureOf(err).reason != "SESSION_NOT_FOUND" {
			return err
		}
		p.end(sessionID, "gone")
	}
	return nil
}

// end tells an end once; an event may be told twice.
func (p *players) end(sessionID, reason string) {
	p.mutex.Lock()
	_, isConnected := p.connected[sessionID]
	delete(p.connected, sessionID)
	p.mutex.Unlock()
	if isConnected {
		p.ended <- endedSession{sessionID, reason}
	}
}
