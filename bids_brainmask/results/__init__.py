# SPDX-License-Identifier: Apache-2.0
"""The results of a scan on the disk: written, checked, corrected by a person, removed.

One rule holds for every file. The sidecar of an image has under ``Files`` the size, time and hash
of the image and of the figures and tables that were made along; under ``SourceFile``,
``Parameters`` and ``ContrastEnhanced`` what it was made of; under ``MadeFrom`` the hash of the
voxels of each mask that it was made of. A file is current if all of these are so now.

The hash of a mask under ``VoxelsSHA256`` and ``MadeFrom`` is of its shape and voxels. It survives
another compression, data type or header, so it answers whether a mask is the one that was made.
The hash under ``Files`` is of the bytes, and answers whether a file has been touched at all.
"""
