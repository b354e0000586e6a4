"""The network, its inputs, its metrics and the device that it runs on."""
