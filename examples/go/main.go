// A player's visit: login, lock, guarded write, rate limit, logout. go run . [host:port | unix:/path]
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	cachev1 "example.com/shardkeep/gen/shardkeep/cache/v1"
	lockv1 "example.com/shardkeep/gen/shardkeep/lock/v1"
	ratelimitv1 "example.com/shardkeep/gen/shardkeep/ratelimit/v1"
	sessionv1 "example.com/shardkeep/gen/shardkeep/session/v1"
)

// Every call has a deadline. Sent again by gRPC itself is only what the protos call safe to retry: three of these
// because their requests carry a request_id. The watch lasts, so it is not here.
const serviceConfig = `{
	"methodConfig": [
		{
			"name": [
				{ "service": "shardkeep.session.v1.SessionService", "method": "CreateSession" },
				{ "service": "shardkeep.session.v1.SessionService", "method": "ValidateSession" },
				{ "service": "shardkeep.session.v1.SessionService", "method": "GetSession" },
				{ "service": "shardkeep.session.v1.SessionService", "method": "DestroySession" },
				{ "service": "shardkeep.lock.v1.LockService", "method": "AcquireLock" },
				{ "service": "shardkeep.cache.v1.CacheService", "method": "Get" },
				{ "service": "shardkeep.ratelimit.v1.RateLimitService", "method": "CheckRateLimit" }
			],
			"timeout": "5s",
			"retryPolicy": {
				"maxAttempts": 4,
				"initialBackoff": "0.1s",
				"maxBackoff": "1s",
				"backoffMultiplier": 2,
				"retryableStatusCodes": ["UNAVAILABLE"]
			}
		},
		{
			"name": [
				{ "service": "shardkeep.lock.v1.LockService", "method": "ReleaseLock" },
				{ "service": "shardkeep.cache.v1.CacheService", "method": "Set" }
			],
			"timeout": "5s"
		}
	]
}`

func main() {
	address := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if err := visit(address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func visit(address string) error {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		return err
	}
	defer connection.Close()
	// canceled before the connection is closed, or the watch would be opened again
	ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
	defer cancel()
	sessions := sessionv1.NewSessionServiceClient(connection)
	// a random user, so that the example can run again at once
	userID := "ada-" + rand.Text()

	online := newPlayers(sessions)
	watching := make(chan struct{})
	watchFailed := make(chan error, 1)
	go func() {
		watchFailed <- online.watch(ctx, &sessionv1.WatchSessionsRequest{UserIds: []string{userID}}, watching)
	}()
	select {
	case <-watching:
	case err := <-watchFailed:
		return fmt.Errorf("watch: %w", err)
	}

	session, err := logIn(ctx, sessions, online, userID)
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	if err := saveProfile(ctx, connection, userID); err != nil {
		return fmt.Errorf("save the profile: %w", err)
	}
	if err := guessCodes(ctx, ratelimitv1.NewRateLimitServiceClient(connection), userID); err != nil {
		return fmt.Errorf("guess codes: %w", err)
	}

	logout := &sessionv1.DestroySessionRequest{SessionId: session.SessionId, Reason: "logout"}
	if _, err := sessions.DestroySession(ctx, logout); err != nil {
		return fmt.Errorf("logout: %w", err)
	}
	select {
	case ended := <-online.ended:
		fmt.Printf("the session was ended: %s\n", ended.reason)
		return nil
	case err := <-watchFailed:
		return fmt.Errorf("watch: %w", err)
	}
}

func logIn(
	ctx context.Context, sessions sessionv1.SessionServiceClient, online *players, userID string,
) (*sessionv1.Session, error) {
	login, err := sessions.CreateSession(ctx, &sessionv1.CreateSessionRequest{
		UserId:   userID,
		Metadata: map[string]string{"platform": "linux"},
		// a try whose answer was lost and the next one make one session
		RequestId: rand.Text(),
	})
	if err != nil {
		return nil, err
	}
	// that a login is refused is an answer and no error
	if login.Status != sessionv1.CreateSessionStatus_CREATE_SESSION_STATUS_CREATED {
		return nil, fmt.Errorf("refused: %s", login.Status)
	}
	online.add(login.Session.SessionId)
	// after the player counts as online: an end before that was told to nobody
	check, err := sessions.ValidateSession(ctx, &sessionv1.ValidateSessionRequest{SessionToken: login.SessionToken})
	if err != nil {
		return nil, err
	}
	if check.Status != sessionv1.ValidateSessionStatus_VALIDATE_SESSION_STATUS_VALID {
		return nil, fmt.Errorf("the token opens nothing: %s", check.Status)
	}
	fmt.Println("logged in, and the token is valid")
	return check.Session, nil
}

// saveProfile writes while it holds the lock, and then once more as one who has lost it and does not know.
func saveProfile(ctx context.Context, connection grpc.ClientConnInterface, userID string) error {
	locks := lockv1.NewLockServiceClient(connection)
	cache := cachev1.NewCacheServiceClient(connection)
	resource, key := "profile:"+userID, "user:"+userID+":profile"
	set := func(value string, fencingToken int64) error {
		_, err := cache.Set(ctx, &cachev1.SetRequest{
			Key:    key,
			Value:  []byte(value),
			Expiry: &cachev1.SetRequest_TtlMs{TtlMs: 60_000},
			Guard:  &cachev1.Guard{Resource: resource, FencingToken: fencingToken},
		})
		return err
	}

	var tokens []int64
	for _, profile := range []string{`{"level":7}`, `{"level":8}`} {
		fencingToken, err := whileLocked(ctx, locks, resource, func(token int64) error { return set(profile, token) })
		if err != nil {
			return err
		}
		tokens = append(tokens, fencingToken)
	}
	got, err := cache.Get(ctx, &cachev1.GetRequest{Key: key})
	if err != nil {
		return err
	}
	// a miss is an answer without an entry
	fmt.Printf("profile %s, the later fencing token is higher: %t\n", got.GetEntry().GetValue(), tokens[1] > tokens[0])

	late := failureOf(set(`{"level":1}`, tokens[0]))
	if late.reason != "OLD_FENCING_TOKEN" {
		return fmt.Errorf("a write with an old fencing token: %s", late)
	}
	fmt.Printf("a late write is refused: %s, the key is at the later token: %t\n",
		late, late.metadata["fencing_token"] == fmt.Sprint(tokens[1]))
	return nil
}

// whileLocked works under the lock of a resource and answers the fencing token it had.
func whileLocked(
	ctx context.Context, locks lockv1.LockServiceClient, resource string, work func(fencingToken int64) error,
) (int64, error) {
	ttlMs := int64(5_000)
	lock, err := locks.AcquireLock(ctx, &lockv1.AcquireLockRequest{
		Resources: []string{resource},
		TtlMs:     &ttlMs,
		// in the queue, for less than the call's deadline
		WaitMs: 2_000,
		// a second try is answered the grant of the first
		RequestId: rand.Text(),
	})
	if err != nil {
		return 0, err
	}
	if lock.Status != lockv1.AcquireLockStatus_ACQUIRE_LOCK_STATUS_GRANTED {
		return 0, fmt.Errorf("%s is taken: %s", lock.BlockingResource, lock.Status)
	}
	fencingToken := lock.Grants[0].FencingToken
	failed := work(fencingToken)
	// when this fails, the lease ends by itself
	_, err = locks.ReleaseLock(ctx, &lockv1.ReleaseLockRequest{
		Resources: []string{resource},
		LockToken: lock.LockToken,
	})
	if failed != nil {
		return 0, failed
	}
	return fencingToken, err
}

func guessCodes(ctx context.Context, limits ratelimitv1.RateLimitServiceClient, userID string) error {
	const tries = 6
	limit := &ratelimitv1.Limit{
		Subject: "user:" + userID,
		Policy:  &ratelimitv1.Limit_PolicyName{PolicyName: "auth"},
	}
	allowed := 0
	for range tries {
		check, err := limits.CheckRateLimit(ctx, &ratelimitv1.CheckRateLimitRequest{
			Limits: []*ratelimitv1.Limit{limit},
			// a second try is not charged again
			RequestId: rand.Text(),
		})
		if err != nil {
			return err
		}
		if check.Allowed {
			allowed++
		}
	}
	fmt.Printf("%d of %d guesses allowed\n", allowed, tries)
	return nil
}
