"""What this client calls itself."""

__version__ = "0.1.0"

CLIENT = f"rpc-host-python/{__version__}"
