"""The Open Inference Protocol as Engram speaks it; generated from the .proto files beside it."""
