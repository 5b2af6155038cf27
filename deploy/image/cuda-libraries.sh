#!/bin/sh
# Installs the CUDA run-time libraries that the engine's GPU part is linked to (libcudart, libcublas),
# from NVIDIA's repository for Debian 12. The driver itself (libcuda) comes from the host.
set -eu
repository=https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates curl >/dev/null
curl -fsSLo /tmp/keyring.deb "$repository/cuda-keyring_1.1-1_all.deb"
dpkg -i /tmp/keyring.deb
apt-get update -qq
apt-get install -y -qq --no-install-recommends cuda-cudart-13-0 libcublas-13-0 >/dev/null
apt-get purge -y -qq --auto-remove curl >/dev/null
rm -rf /tmp/keyring.deb /var/lib/apt/lists/*
