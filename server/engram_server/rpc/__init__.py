"""The gRPC door: thin servicers over the engine."""
