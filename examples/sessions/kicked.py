# python -m pip install grpcio grpcio-tools
# python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(find proto -name '*.proto')
# PYTHONPATH=. python examples/sessions/kicked.py
"""A game server that hears of every session that ends, and throws its player out."""
import sys
import threading
import uuid

import grpc
from shardkeep.session.v1 import session_pb2 as pb
from shardkeep.session.v1 import session_pb2_grpc

ENDS = {
    pb.SESSION_EVENT_TYPE_DESTROYED,
    pb.SESSION_EVENT_TYPE_EXPIRED,
    pb.SESSION_EVENT_TYPE_EVICTED,
    pb.SESSION_EVENT_TYPE_THEFT,
}


class Players:
    """The players of this server by session; told of each end, also of those that came while the stream was broken."""

    def __init__(self, stub, on_end):
        self.stub = stub
        self.on_end = on_end
        self.connected = set()
        self.cursor = b""
        self.is_told = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            try:
                for told in self.stub.WatchSessions(pb.WatchSessionsRequest(all=True, cursor=self.cursor)):
                    if told.resync:
                        self.look_again()
                    for event in told.events:
                        if event.type in ENDS:
                            self.end(event.session_id, event.reason)
                    self.cursor = told.cursor or self.cursor
                    self.is_told.set()
            except grpc.RpcError as error:
                print("watch ended:", error.code().name, file=sys.stderr)
            threading.Event().wait(0.2)

    def look_again(self):
        for session_id in list(self.connected):
            try:
                self.stub.GetSession(pb.GetSessionRequest(session_id=session_id), timeout=1)
            except grpc.RpcError as error:
                # any other error ends the stream; the next one begins at the old cursor, and is told to resync again
                if error.code() != grpc.StatusCode.NOT_FOUND:
                    raise
                self.end(session_id, "gone")

    def end(self, session_id, reason):
        # an event may be told twice
        if session_id in self.connected:
            self.connected.discard(session_id)
            self.on_end(session_id, reason)


if __name__ == "__main__":
    channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
    stub = session_pb2_grpc.SessionServiceStub(channel)
    kicked = threading.Event()

    def throw_out(session_id, reason):
        print("thrown out:", reason)
        kicked.set()

    players = Players(stub, throw_out)
    players.is_told.wait(10)
    login = stub.CreateSession(pb.CreateSessionRequest(user_id=f"bo-{uuid.uuid4()}", profile="game"), timeout=2)
    players.connected.add(login.session.session_id)
    # only then: what ended it before was told to nobody
    check = stub.ValidateSession(pb.ValidateSessionRequest(session_token=login.session_token), timeout=2)
    assert check.status == pb.VALIDATE_SESSION_STATUS_VALID
    # what a moderator's tool would do
    stub.DestroyUserSessions(pb.DestroyUserSessionsRequest(user_id=login.session.user_id, reason="banned"), timeout=2)
    kicked.wait(10)
    print("still connected:", len(players.connected))
