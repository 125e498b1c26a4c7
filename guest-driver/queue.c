// SPDX-License-Identifier: GPL-2.0
/*
 * The command queue: commands on their way to the card and back.
 */
#include "command.h"
#include "pinhole.h"

/**
 * pinhole_cmd_finish() - a command was answered, or will never be
 * @dev: device
 * @cmd: command, pending or submitted
 * @result: 0 or a negative errno
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
static void pinhole_cmd_finish(struct pinhole_device *dev,
			       struct pinhole_cmd *cmd, int result)
{
	list_del_init(&cmd->node);
	cmd->state = PINHOLE_CMD_IDLE;
	cmd->result = result;
	if (cmd->orphan)
		list_add_tail(&cmd->node, &dev->orphans);
	else
		cmd->complete(dev, cmd);
}

/**
 * pinhole_cmd_add() - put a command in the queue
 * @dev: device
 * @cmd: command
 *
 * The request, the entries and the response are one descriptor each where the
 * entries are contiguous. The virtio core may allocate an indirect table for
 * them; where it cannot, it falls back to the descriptors of the ring.
 *
 * Context: Any; the device's lock is held.
 * Return: 0, -ENOSPC if the queue is full, or another negative errno.
 */
static int pinhole_cmd_add(struct pinhole_device *dev, struct pinhole_cmd *cmd)
{
	struct scatterlist *sgs[3];
	unsigned int out = 0, in = 0;
	int ret;

	sgs[out++] = &cmd->req_sg;
	if (cmd->entries)
		sgs[out++] = cmd->entries_sgt.sgl;
	if (cmd->resp)
		sgs[out + in++] = &cmd->resp_sg;

	ret = virtqueue_add_sgs(dev->commandq, sgs, out, in, cmd, GFP_ATOMIC);
	if (!ret) {
		cmd->state = PINHOLE_CMD_SUBMITTED;
		cmd->since = jiffies;
		list_move_tail(&cmd->node, &dev->inflight);
	}
	return ret;
}

/**
 * pinhole_cmds_flush() - put waiting commands in the queue as far as it goes
 * @dev: device
 *
 * The card is notified under the lock: the queue is there as long as no fault
 * is set, and the lock is what holds off the fault.
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
static void pinhole_cmds_flush(struct pinhole_device *dev)
{
	struct pinhole_cmd *cmd, *tmp;
	bool added = false;
	int ret;

	list_for_each_entry_safe(cmd, tmp, &dev->pending, node) {
		ret = pinhole_cmd_add(dev, cmd);
		if (ret == -ENOSPC)
			break;
		if (ret)
			pinhole_cmd_finish(dev, cmd, ret);
		else
			added = true;
	}
	if (added)
		virtqueue_kick(dev->commandq);
}

/**
 * pinhole_cmd_submit() - hand a command to the card
 * @dev: device
 * @cmd: command, idle, its completion callback set
 *
 * Commands reach the card in the order of submission. The callback is called
 * exactly once, at once if the card is dead; for an orphan not at all.
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
void pinhole_cmd_submit(struct pinhole_device *dev, struct pinhole_cmd *cmd)
{
	cmd->used = 0;
	cmd->garbled = false;
	cmd->state = PINHOLE_CMD_PENDING;
	list_add_tail(&cmd->node, &dev->pending);
	if (dev->fault)
		pinhole_cmd_finish(dev, cmd, dev->fault);
	else
		pinhole_cmds_flush(dev);
}

/**
 * pinhole_call_complete() - a synchronous command was answered
 * @dev: device
 * @cmd: command
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
static void pinhole_call_complete(struct pinhole_device *dev,
				  struct pinhole_cmd *cmd)
{
	complete(&cmd->done);
}

/**
 * pinhole_cmd_call() - hand a command to the card and wait for the answer
 * @dev: device
 * @cmd: command, idle
 * @killable: whether a signal that kills the process ends the wait
 *
 * A card that does not answer in time is given up for good. A command that is
 * not waited for any longer goes its way all the same.
 *
 * Context: Process context. Waits, for the module's timeout at most.
 * Return: 0, the card's negative errno, -EIO if it does not answer, -ENODEV if
 * it is removed meanwhile, -ERESTARTSYS if the process was killed.
 */
int pinhole_cmd_call(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		     bool killable)
{
	unsigned long flags;
	long left;
	int ret;

	reinit_completion(&cmd->done);
	cmd->complete = pinhole_call_complete;

	spin_lock_irqsave(&dev->lock, flags);
	pinhole_cmd_submit(dev, cmd);
	spin_unlock_irqrestore(&dev->lock, flags);

	if (killable)
		left = wait_for_completion_killable_timeout(&cmd->done,
							    pinhole_timeout());
	else
		left = wait_for_completion_timeout(&cmd->done,
						   pinhole_timeout());
	if (!left) {
		pinhole_rings_look(dev);
		if (!try_wait_for_completion(&cmd->done))
			pinhole_set_fault(dev, -EIO,
					  "does not answer a command");
	}

	spin_lock_irqsave(&dev->lock, flags);
	if (cmd->state == PINHOLE_CMD_IDLE)
		ret = cmd->result;
	else
		ret = dev->fault ? dev->fault : -ERESTARTSYS;
	spin_unlock_irqrestore(&dev->lock, flags);
	return ret;
}

/**
 * pinhole_cmds_cancel_qbufs() - take back QBUF commands that wait for room
 * @dev: device
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
void pinhole_cmds_cancel_qbufs(struct pinhole_device *dev)
{
	struct pinhole_cmd *cmd, *tmp;

	list_for_each_entry_safe(cmd, tmp, &dev->pending, node)
		if (cmd->buf)
			pinhole_cmd_finish(dev, cmd, -ECANCELED);
}

/**
 * pinhole_cmds_detach() - take all commands back from a card that was reset
 * @dev: device
 *
 * Context: Process context. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_cmds_detach(struct pinhole_device *dev)
{
	struct pinhole_cmd *cmd, *tmp;
	unsigned long flags;
	LIST_HEAD(orphans);

	spin_lock_irqsave(&dev->lock, flags);
	while (virtqueue_detach_unused_buf(dev->commandq))
		;
	list_for_each_entry_safe(cmd, tmp, &dev->inflight, node)
		pinhole_cmd_finish(dev, cmd, dev->fault);
	list_splice_init(&dev->orphans, &orphans);
	spin_unlock_irqrestore(&dev->lock, flags);

	list_for_each_entry_safe(cmd, tmp, &orphans, node)
		pinhole_cmd_free(dev, cmd);
}

/**
 * pinhole_cmd_result() - what the card made of a command
 * @cmd: command
 * @used: number of bytes that the card says it wrote
 *
 * Context: Any.
 * Return: 0 or a negative errno; -EIO if the response makes no sense.
 */
static int pinhole_cmd_result(struct pinhole_cmd *cmd, u32 used)
{
	struct virtio_media_resp_header *hdr = cmd->resp;
	u32 status;

	if (!hdr)
		return 0;
	if (used >= sizeof(*hdr) && used <= cmd->resp_len) {
		status = le32_to_cpu(hdr->status);
		/* Numbers above are the kernel's own, not an application's. */
		if (status <= EHWPOISON)
			return -(int)status;
	}
	cmd->garbled = true;
	return -EIO;
}

/**
 * pinhole_cmds_answered() - take the answers out of the command queue
 * @dev: device
 *
 * Context: Any; the device's lock is held.
 */
static void pinhole_cmds_answered(struct pinhole_device *dev)
{
	struct pinhole_cmd *cmd;
	unsigned int used;

	while ((cmd = virtqueue_get_buf(dev->commandq, &used))) {
		cmd->used = used;
		dev->heard = jiffies;
		pinhole_cmd_finish(dev, cmd, pinhole_cmd_result(cmd, used));
	}
}

/**
 * pinhole_commandq_cb() - commands were answered
 * @vq: the command queue
 *
 * Context: Interrupt. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_commandq_cb(struct virtqueue *vq)
{
	struct pinhole_device *dev = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	do {
		virtqueue_disable_cb(vq);
		pinhole_cmds_answered(dev);
	} while (!virtqueue_enable_cb(vq));
	if (!dev->fault)
		pinhole_cmds_flush(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
}

/**
 * pinhole_rings_look() - look at both queues without having been told to
 * @dev: device
 *
 * A card that has answered while its interrupt was lost, or held off longer
 * than the card was waited for, is not dead.
 *
 * Context: Process context. Takes the device's lock.
 */
void pinhole_rings_look(struct pinhole_device *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (!dev->fault) {
		pinhole_cmds_answered(dev);
		pinhole_cmds_flush(dev);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	pinhole_events_drain(dev);
}

/**
 * pinhole_set_fault() - give up the card
 * @dev: device
 * @fault: -EIO if the card does not answer, -ENODEV if it is removed
 * @why: what it did, for the log; NULL to log nothing
 *
 * The card is not reset: it may not answer that, either. What it may still
 * write to stays as it is until the driver is unbound.
 *
 * Context: Any. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_set_fault(struct pinhole_device *dev, int fault, const char *why)
{
	struct pinhole_cmd *cmd, *tmp;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (dev->fault == -ENODEV || dev->fault == fault) {
		spin_unlock_irqrestore(&dev->lock, flags);
		return;
	}
	dev->fault = fault;
	list_for_each_entry_safe(cmd, tmp, &dev->pending, node)
		pinhole_cmd_finish(dev, cmd, fault);
	list_for_each_entry(cmd, &dev->inflight, node)
		complete(&cmd->done);
	wake_up_all(&dev->idle);
	vb2_queue_error(&dev->queue);
	spin_unlock_irqrestore(&dev->lock, flags);

	if (why)
		dev_err(&dev->vdev->dev,
			"the card %s: given up until the driver is bound anew\n",
			why);
}
