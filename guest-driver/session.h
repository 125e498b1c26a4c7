/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The session with the device, and the ioctls that are forwarded in it.
 */
#ifndef PINHOLE_SESSION_H
#define PINHOLE_SESSION_H

#include <linux/bitmap.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "transport.h"

/* When what failed for want of memory is tried again, in jiffies. */
#define PINHOLE_RETRY HZ

/**
 * struct pinhole_session - the session
 * @mutex: one synchronous command at a time; guards what follows up to @close
 * @busy: somebody relies on the device as it is, a stream or the probe: it is not
 *	  set up anew before they are done
 * @retry: when a device that was given up may be set up anew, in jiffies
 * @fresh: the device was reset, and knows nothing of what it was told before
 * @opened: number of sessions that were opened so far: the device may give a
 *	    number a second time
 * @open: the device has the session
 * @close: command that closes a session: closing, which takes all buffers from
 *	   the device, needs no memory
 * @lock: guards @id and @bad, which are written with @mutex held, too
 * @id: number of the session
 * @bad: the session is lost, and must be replaced
 * @work: replaces it, or sets up a device that was given up
 * @watchdog: looks whether the device responds while it streams
 * @ping: command of @watchdog
 * @complaints: ioctls whose malformed response has been logged
 */
struct pinhole_session {
	struct mutex mutex; /* one synchronous command at a time */
	bool busy;
	unsigned long retry;
	bool fresh;
	unsigned int opened;
	bool open;
	struct pinhole_cmd *close;
	spinlock_t lock; /* the session's number and state */
	u32 id;
	bool bad;
	struct delayed_work work;
	struct delayed_work watchdog;
	struct pinhole_cmd *ping;
	DECLARE_BITMAP(complaints, 256);
};

/**
 * struct pinhole_call - an ioctl to forward
 * @cmd: VIDIOC_*
 * @payload: payload, overwritten with the device's if the ioctl returns one
 * @length: length of @payload in bytes
 * @pieces: what the payload's pointers point to, in their order; overwritten with
 *	    the device's by G_EXT_CTRLS
 * @num_pieces: number of @pieces
 */
struct pinhole_call {
	unsigned int cmd;
	void *payload;
	size_t length;
	const struct pinhole_piece *pieces;
	unsigned int num_pieces;
};

/* session.c */
int pinhole_session_new(struct pinhole_device *dev);
int pinhole_session_close(struct pinhole_device *dev);
void pinhole_session_replace(struct pinhole_device *dev, unsigned long delay);
int pinhole_session_call(struct pinhole_device *dev,
			 const struct pinhole_call *call);
int pinhole_session_ioctl(struct pinhole_device *dev, unsigned int cmd,
			  void *payload);
int pinhole_nonsense(struct pinhole_device *dev, unsigned int cmd);

/* recovery.c */
void pinhole_session_init(struct pinhole_device *dev);
void pinhole_session_cancel(struct pinhole_device *dev);
void pinhole_session_exit(struct pinhole_device *dev);
int pinhole_session_open(struct pinhole_device *dev);
bool pinhole_session_lost(struct pinhole_device *dev, u32 session_id);
int pinhole_session_ready(struct pinhole_device *dev);
void pinhole_session_done(struct pinhole_device *dev);
void pinhole_session_recover(struct pinhole_device *dev);
int pinhole_call_locked(struct pinhole_device *dev,
			const struct pinhole_call *call);
int pinhole_call(struct pinhole_device *dev, const struct pinhole_call *call);
int pinhole_ioctl(struct pinhole_device *dev, unsigned int cmd, void *payload);
void pinhole_watchdog_start(struct pinhole_device *dev);
void pinhole_watchdog_alert(struct pinhole_device *dev);
void pinhole_watchdog_stop(struct pinhole_device *dev);

#endif /* PINHOLE_SESSION_H */
