"""The wire contract of Engram, version 1; generated from the .proto files beside it."""
