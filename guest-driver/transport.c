// SPDX-License-Identifier: GPL-2.0
/*
 * The command queue: commands on their way to the device and back.
 */
#include <linux/moduleparam.h>

#include "pinhole.h"

static unsigned int timeout_ms = 5000;
module_param(timeout_ms, uint, 0644);
MODULE_PARM_DESC(timeout_ms,
		 "milliseconds after which a device that does not respond is given up (default: 5000, at least 100)");

/* How long the device may take to respond, in jiffies. */
unsigned long pinhole_timeout(void)
{
	return msecs_to_jiffies(max(READ_ONCE(timeout_ms), 100U));
}

/*
 * 0, -EIO if the device was given up, -ESHUTDOWN if it sleeps or is shut down, or
 * -ENODEV if it is removed.
 */
int pinhole_fault(const struct pinhole_device *dev)
{
	return READ_ONCE(dev->commands.fault);
}

/* A command, pending or in flight, has its result. */
static void pinhole_cmd_finish(struct pinhole_cmd *cmd, int result)
{
	lockdep_assert_held(&cmd->dev->commands.ring.lock);

	list_del_init(&cmd->node);
	cmd->result = result;
	if (cmd->complete)
		cmd->complete(cmd);
	complete(&cmd->done);
	kref_put(&cmd->ref, pinhole_cmd_free_later);
}

/*
 * The request, the entries and the response are one descriptor each where the
 * entries are contiguous. The virtio core may allocate an indirect table for
 * them; where it cannot, it falls back to the descriptors of the ring, which may
 * be too few: -ENOSPC.
 */
static int pinhole_cmd_add(struct pinhole_commands *commands,
			   struct pinhole_cmd *cmd)
{
	struct scatterlist *sgs[3];
	unsigned int out = 0, in = 0;
	int ret;

	sgs[out++] = &cmd->req_sg;
	if (cmd->entries)
		sgs[out++] = cmd->entries_sgt.sgl;
	if (cmd->resp)
		sgs[out + in++] = &cmd->resp_sg;

	ret = virtqueue_add_sgs(commands->ring.vq, sgs, out, in, cmd,
				GFP_ATOMIC);
	if (!ret) {
		cmd->since = jiffies;
		list_move_tail(&cmd->node, &commands->inflight);
	}
	return ret;
}

/* Puts pending commands in the virtqueue, in order, as far as there is room. */
static bool pinhole_commands_flush(struct pinhole_commands *commands)
{
	struct pinhole_cmd *cmd, *tmp;
	bool added = false;
	int ret;

	lockdep_assert_held(&commands->ring.lock);
	list_for_each_entry_safe(cmd, tmp, &commands->pending, node) {
		ret = pinhole_cmd_add(commands, cmd);
		if (ret == -ENOSPC)
			break;
		if (ret)
			pinhole_cmd_finish(cmd, ret);
		else
			added = true;
	}
	return added;
}

/**
 * pinhole_cmd_submit() - hand a command to the device
 * @cmd: command that is not submitted
 *
 * Commands reach the device in the order of submission. The command is completed
 * exactly once, at once if there is a fault. A buffer of a session that is lost does
 * not get there: the number may be another session's since.
 *
 * Context: Any, without a lock of this driver that is a spinlock.
 */
void pinhole_cmd_submit(struct pinhole_cmd *cmd)
{
	struct pinhole_device *dev = cmd->dev;
	struct pinhole_commands *commands = &dev->commands;
	unsigned long flags;
	bool added = false;

	spin_lock_irqsave(&commands->ring.lock, flags);
	cmd->used = 0;
	cmd->garbled = false;
	cmd->result = 1;
	kref_get(&cmd->ref);
	list_add_tail(&cmd->node, &commands->pending);
	if (commands->fault)
		pinhole_cmd_finish(cmd, commands->fault);
	else if (cmd->session && READ_ONCE(cmd->session->bad))
		pinhole_cmd_finish(cmd, -EIO);
	else
		added = pinhole_commands_flush(commands);
	pinhole_ring_unlock(&commands->ring, flags, added);
	dev->up->done(dev);
}

/**
 * pinhole_cmd_call() - hand a command to the device and wait for the response
 * @cmd: command that is not submitted, without a completion callback
 * @killable: whether a signal that kills the process ends the wait
 *
 * A device that does not respond in time is given up. A command that is not
 * waited for any longer goes its way all the same.
 *
 * Return: 0, the device's negative errno, -EIO if it does not respond, -ENODEV if
 * it is removed meanwhile, -ERESTARTSYS if the process was killed.
 */
int pinhole_cmd_call(struct pinhole_cmd *cmd, bool killable)
{
	struct pinhole_device *dev = cmd->dev;
	unsigned long flags;
	long left;
	int ret;

	reinit_completion(&cmd->done);
	pinhole_cmd_submit(cmd);
	if (killable)
		left = wait_for_completion_killable_timeout(&cmd->done,
							    pinhole_timeout());
	else
		left = wait_for_completion_timeout(&cmd->done,
						   pinhole_timeout());
	if (!left) {
		pinhole_commands_look(dev);
		if (!try_wait_for_completion(&cmd->done))
			pinhole_set_fault(dev, -EIO,
					  "does not respond to a command");
	}

	spin_lock_irqsave(&dev->commands.ring.lock, flags);
	ret = cmd->result;
	if (ret > 0)
		ret = dev->commands.fault ? dev->commands.fault : -ERESTARTSYS;
	spin_unlock_irqrestore(&dev->commands.ring.lock, flags);
	return ret;
}

/* What the device made of a command: 0 or a negative errno. */
static int pinhole_cmd_result(struct pinhole_cmd *cmd)
{
	struct virtio_media_resp_header *hdr = cmd->resp;
	u32 status;

	if (!hdr)
		return 0;
	if (cmd->used >= sizeof(*hdr) && cmd->used <= cmd->resp_len) {
		status = le32_to_cpu(READ_ONCE(hdr->status));
		/* Numbers above are the kernel's own, not an application's. */
		if (status <= EHWPOISON)
			return -(int)status;
	}
	cmd->garbled = true;
	return -EIO;
}

/* Takes out the responses: no more than there are commands in the virtqueue. */
static void pinhole_commands_answered(struct pinhole_commands *commands)
{
	struct pinhole_cmd *cmd;
	unsigned int used;

	lockdep_assert_held(&commands->ring.lock);
	while ((cmd = virtqueue_get_buf(commands->ring.vq, &used))) {
		cmd->used = used;
		WRITE_ONCE(commands->heard, jiffies);
		pinhole_cmd_finish(cmd, pinhole_cmd_result(cmd));
	}
}

/* Interrupt of the command queue. */
void pinhole_commands_cb(struct virtqueue *vq)
{
	struct pinhole_device *dev = vq->vdev->priv;
	struct pinhole_commands *commands = &dev->commands;
	unsigned long flags;
	bool added = false;

	spin_lock_irqsave(&commands->ring.lock, flags);
	if (commands->ring.vq && !commands->fault) {
		do {
			virtqueue_disable_cb(vq);
			pinhole_commands_answered(commands);
		} while (!virtqueue_enable_cb(vq));
		added = pinhole_commands_flush(commands);
	}
	pinhole_ring_unlock(&commands->ring, flags, added);
	dev->up->done(dev);
}

/**
 * pinhole_commands_look() - look for responses without having been told to
 * @dev: device
 *
 * A device that has responded while its interrupt was lost, or held off longer
 * than the device was waited for, is not dead.
 */
void pinhole_commands_look(struct pinhole_device *dev)
{
	struct pinhole_commands *commands = &dev->commands;
	unsigned long flags;
	bool added = false;

	spin_lock_irqsave(&commands->ring.lock, flags);
	if (commands->ring.vq && !commands->fault) {
		pinhole_commands_answered(commands);
		added = pinhole_commands_flush(commands);
	}
	pinhole_ring_unlock(&commands->ring, flags, added);
	dev->up->done(dev);
}

/**
 * pinhole_commands_check() - look whether the device responds
 * @dev: device
 * @idle: set to whether it has nothing to respond to
 *
 * Return: NULL, or what the device does wrong.
 */
const char *pinhole_commands_check(struct pinhole_device *dev, bool *idle)
{
	struct pinhole_commands *commands = &dev->commands;
	struct pinhole_cmd *oldest;
	const char *wrong = NULL;
	unsigned long flags;

	spin_lock_irqsave(&commands->ring.lock, flags);
	oldest = list_first_entry_or_null(&commands->inflight,
					  struct pinhole_cmd, node);
	*idle = !oldest;
	if (commands->ring.vq && virtqueue_is_broken(commands->ring.vq))
		wrong = "broke a virtqueue";
	else if (oldest && time_after(jiffies, oldest->since + pinhole_timeout()))
		wrong = "does not respond to a command";
	spin_unlock_irqrestore(&commands->ring.lock, flags);
	return wrong;
}

/* Takes back the QBUF commands of a stream that wait for room. */
void pinhole_commands_cancel_qbufs(struct pinhole_stream *stream)
{
	struct pinhole_commands *commands = &stream->dev->commands;
	struct pinhole_cmd *cmd, *tmp;
	unsigned long flags;

	spin_lock_irqsave(&commands->ring.lock, flags);
	list_for_each_entry_safe(cmd, tmp, &commands->pending, node)
		if (cmd->buf && cmd->buf->vb.vb2_buf.vb2_queue == &stream->queue)
			pinhole_cmd_finish(cmd, -ECANCELED);
	spin_unlock_irqrestore(&commands->ring.lock, flags);
}

/**
 * pinhole_set_fault() - give up the device
 * @dev: device
 * @fault: -EIO if it does not respond, -ESHUTDOWN if it is to sleep or to be shut
 *	   down, -ENODEV if it is removed
 * @why: what it did, for the log; NULL to log nothing
 *
 * The device is not reset here, and may go on writing to whatever it was given.
 * Nothing is submitted any more, and whoever waits for the device stops waiting.
 * A fault gives way to a graver one, which comes later in the list above.
 *
 * Context: Any, without a lock of this driver that is a spinlock.
 */
void pinhole_set_fault(struct pinhole_device *dev, int fault, const char *why)
{
	struct pinhole_commands *commands = &dev->commands;
	struct pinhole_cmd *cmd, *tmp;
	unsigned long flags;

	spin_lock_irqsave(&commands->ring.lock, flags);
	if (commands->fault == -ENODEV || commands->fault == fault ||
	    (commands->fault && fault == -EIO)) {
		spin_unlock_irqrestore(&commands->ring.lock, flags);
		return;
	}
	WRITE_ONCE(commands->fault, fault);
	commands->silent = fault == -EIO &&
			   time_after_eq(jiffies,
					 commands->heard + pinhole_timeout());
	list_for_each_entry_safe(cmd, tmp, &commands->pending, node)
		pinhole_cmd_finish(cmd, fault);
	list_for_each_entry(cmd, &commands->inflight, node)
		complete(&cmd->done);
	spin_unlock_irqrestore(&commands->ring.lock, flags);

	dev->up->fault(dev);
	if (why && !READ_ONCE(commands->quiet))
		dev_err_ratelimited(&dev->vdev->dev, "device %s: given up\n",
				    why);
}

/* Replaces a fault, or none, unless it is another meanwhile; returns the new one. */
int pinhole_replace_fault(struct pinhole_device *dev, int from, int to)
{
	struct pinhole_commands *commands = &dev->commands;
	unsigned long flags;
	int fault;

	spin_lock_irqsave(&commands->ring.lock, flags);
	if (commands->fault == from)
		WRITE_ONCE(commands->fault, to);
	fault = commands->fault;
	spin_unlock_irqrestore(&commands->ring.lock, flags);
	return fault;
}

/* Prepares the command queue, which has no virtqueue yet. */
void pinhole_commands_init(struct pinhole_device *dev)
{
	struct pinhole_commands *commands = &dev->commands;

	mutex_init(&commands->mutex);
	spin_lock_init(&commands->ring.lock);
	INIT_LIST_HEAD(&commands->pending);
	INIT_LIST_HEAD(&commands->inflight);
	init_llist_head(&commands->dead);
	INIT_WORK(&commands->reaper, pinhole_commands_reap);
	commands->heard = jiffies;
}

/* The virtqueue was found. */
void pinhole_commands_open(struct pinhole_device *dev, struct virtqueue *vq)
{
	struct pinhole_commands *commands = &dev->commands;
	unsigned long flags;

	spin_lock_irqsave(&commands->ring.lock, flags);
	commands->slots = virtqueue_get_vring_size(vq);
	commands->ring.vq = vq;
	WRITE_ONCE(commands->heard, jiffies);
	spin_unlock_irqrestore(&commands->ring.lock, flags);
}

/* Takes back all commands of a device that was reset, with the fault set. */
void pinhole_commands_detach(struct pinhole_device *dev)
{
	struct pinhole_commands *commands = &dev->commands;
	struct pinhole_cmd *cmd;
	unsigned long flags;

	spin_lock_irqsave(&commands->ring.lock, flags);
	while ((cmd = virtqueue_detach_unused_buf(commands->ring.vq)))
		pinhole_cmd_finish(cmd, commands->fault);
	commands->ring.vq = NULL;
	spin_unlock_irqrestore(&commands->ring.lock, flags);
}

/* Nobody has a command any more. */
void pinhole_commands_exit(struct pinhole_device *dev)
{
	flush_work(&dev->commands.reaper);
	mutex_destroy(&dev->commands.mutex);
}
