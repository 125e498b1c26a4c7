/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-media on the wire, as in VIRTIO 1.4, section "Media Device".
 *
 * All fields are little-endian. V4L2 structures travel in their 64-bit layout,
 * which is the kernel's own on every 64-bit little-endian machine; no other
 * machine is supported.
 */
#ifndef PINHOLE_VIRTIO_MEDIA_H
#define PINHOLE_VIRTIO_MEDIA_H

#include <linux/build_bug.h>
#include <linux/types.h>
#include <linux/videodev2.h>

#if !defined(CONFIG_64BIT) || defined(CONFIG_CPU_BIG_ENDIAN)
#error "virtio-media structures need a 64-bit little-endian kernel"
#endif

/* The device's number in the VIRTIO specification. */
#define VIRTIO_MEDIA_DEVICE_ID 48

/**
 * struct virtio_media_config - configuration space
 * @device_caps: V4L2_CAP_* of the device
 * @device_type: kind of device node, as enum vfl_devnode_type; 0 is video
 * @card: name of the device, NUL-terminated unless all bytes are used
 */
struct virtio_media_config {
	__le32 device_caps;
	__le32 device_type;
	__u8 card[32];
};

#define VIRTIO_MEDIA_CMD_OPEN 1
#define VIRTIO_MEDIA_CMD_CLOSE 2
#define VIRTIO_MEDIA_CMD_IOCTL 3
#define VIRTIO_MEDIA_CMD_MMAP 4
#define VIRTIO_MEDIA_CMD_MUNMAP 5

/* The shared memory region that MMAP buffers are mapped into. */
#define VIRTIO_MEDIA_SHM_MMAP 0

/**
 * struct virtio_media_cmd_header - start of every command
 * @cmd: VIRTIO_MEDIA_CMD_*
 * @reserved: zero
 */
struct virtio_media_cmd_header {
	__le32 cmd;
	__le32 reserved;
};

/**
 * struct virtio_media_resp_header - start of every response
 * @status: 0 or a positive Linux error number
 * @reserved: zero
 */
struct virtio_media_resp_header {
	__le32 status;
	__le32 reserved;
};

/**
 * struct virtio_media_resp_open - response to VIRTIO_MEDIA_CMD_OPEN
 * @hdr: response header
 * @session_id: number of the session that was opened
 * @reserved: zero
 */
struct virtio_media_resp_open {
	struct virtio_media_resp_header hdr;
	__le32 session_id;
	__le32 reserved;
};

/**
 * struct virtio_media_cmd_close - VIRTIO_MEDIA_CMD_CLOSE, which has no response
 * @hdr: command header
 * @session_id: session to close
 * @reserved: zero
 */
struct virtio_media_cmd_close {
	struct virtio_media_cmd_header hdr;
	__le32 session_id;
	__le32 reserved;
};

/**
 * struct virtio_media_cmd_ioctl - VIRTIO_MEDIA_CMD_IOCTL
 * @hdr: command header
 * @session_id: session to run the ioctl on
 * @code: number of the ioctl, the second argument of its _IO* macro
 *
 * Followed by the ioctl's payload if it is _IOW or _IOWR. The payload follows
 * the response header if the ioctl is _IOR or _IOWR.
 */
struct virtio_media_cmd_ioctl {
	struct virtio_media_cmd_header hdr;
	__le32 session_id;
	__le32 code;
};

#define VIRTIO_MEDIA_MMAP_FLAG_RW 1

/**
 * struct virtio_media_cmd_mmap - VIRTIO_MEDIA_CMD_MMAP: map a MMAP buffer
 * @hdr: command header
 * @session_id: session that has the buffer
 * @flags: VIRTIO_MEDIA_MMAP_FLAG_*
 * @offset: what QUERYBUF says of a plane: where the device has it
 */
struct virtio_media_cmd_mmap {
	struct virtio_media_cmd_header hdr;
	__le32 session_id;
	__le32 flags;
	__le32 offset;
};

/**
 * struct virtio_media_resp_mmap - response to VIRTIO_MEDIA_CMD_MMAP
 * @hdr: response header
 * @driver_addr: where the plane was mapped to, from the start of the region
 * @len: its length in bytes
 */
struct virtio_media_resp_mmap {
	struct virtio_media_resp_header hdr;
	__le64 driver_addr;
	__le64 len;
};

/**
 * struct virtio_media_cmd_munmap - VIRTIO_MEDIA_CMD_MUNMAP: undo a mapping
 * @hdr: command header
 * @driver_addr: where the plane was mapped to
 *
 * The response is a header.
 */
struct virtio_media_cmd_munmap {
	struct virtio_media_cmd_header hdr;
	__le64 driver_addr;
};

/**
 * struct virtio_media_sg_entry - one segment of guest memory
 * @start: address of the first byte, as the device sees it
 * @len: length in bytes
 * @reserved: zero
 */
struct virtio_media_sg_entry {
	__le64 start;
	__le32 len;
	__le32 reserved;
};

#define VIRTIO_MEDIA_EVT_ERROR 0
#define VIRTIO_MEDIA_EVT_DQBUF 1
#define VIRTIO_MEDIA_EVT_EVENT 2

#define VIRTIO_MEDIA_MAX_PLANES 8

/**
 * struct virtio_media_event_header - start of every event
 * @event: VIRTIO_MEDIA_EVT_*
 * @session_id: session that the event is for
 */
struct virtio_media_event_header {
	__le32 event;
	__le32 session_id;
};

/**
 * struct virtio_media_event_error - VIRTIO_MEDIA_EVT_ERROR: the session is dead
 * @hdr: event header
 * @error: positive Linux error number
 * @reserved: zero
 */
struct virtio_media_event_error {
	struct virtio_media_event_header hdr;
	__le32 error;
	__le32 reserved;
};

/**
 * struct virtio_media_event_dqbuf - VIRTIO_MEDIA_EVT_DQBUF: a buffer came back
 * @hdr: event header
 * @buffer: the buffer; pointers in it mean nothing
 * @planes: its planes, if it is a multi-planar one
 *
 * The largest of the events: what the driver offers on the event queue.
 */
struct virtio_media_event_dqbuf {
	struct virtio_media_event_header hdr;
	struct v4l2_buffer buffer;
	struct v4l2_plane planes[VIRTIO_MEDIA_MAX_PLANES];
};

/**
 * struct virtio_media_event_event - VIRTIO_MEDIA_EVT_EVENT: a V4L2 event
 * @hdr: event header
 * @event: the event
 */
struct virtio_media_event_event {
	struct virtio_media_event_header hdr;
	struct v4l2_event event;
};

static_assert(sizeof(struct virtio_media_config) == 40);
static_assert(sizeof(struct virtio_media_cmd_ioctl) == 16);
static_assert(sizeof(struct virtio_media_cmd_mmap) == 20);
static_assert(sizeof(struct virtio_media_resp_mmap) == 24);
static_assert(sizeof(struct virtio_media_cmd_munmap) == 16);
static_assert(sizeof(struct virtio_media_sg_entry) == 16);
static_assert(sizeof(struct v4l2_buffer) == 88);
static_assert(sizeof(struct v4l2_plane) == 64);
static_assert(sizeof(struct v4l2_format) == 208);
static_assert(sizeof(struct v4l2_streamparm) == 204);
static_assert(sizeof(struct v4l2_event) == 136);
static_assert(sizeof(struct v4l2_event_subscription) == 32);
static_assert(sizeof(struct v4l2_query_ext_ctrl) == 232);
static_assert(sizeof(struct v4l2_querymenu) == 44);
static_assert(sizeof(struct v4l2_ext_controls) == 32);
static_assert(sizeof(struct v4l2_ext_control) == 20);
static_assert(sizeof(struct v4l2_selection) == 64);
static_assert(sizeof(struct virtio_media_event_event) == 144);
static_assert(sizeof(struct virtio_media_event_dqbuf) == 608);

#endif /* PINHOLE_VIRTIO_MEDIA_H */
