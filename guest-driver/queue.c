// SPDX-License-Identifier: GPL-2.0
/*
 * The command queue.
 *
 * A command owns its request, its scatter entries and its response; while it
 * is submitted the card may read and write them, and they are not freed. An
 * owner that cannot wait any longer leaves it behind as an orphan, which is
 * freed when the card has been reset.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "pinhole.h"

/**
 * pinhole_cmd_free() - free a command
 * @dev: device
 * @cmd: command, idle; NULL is allowed
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void pinhole_cmd_free(struct pinhole_device *dev,
			     struct pinhole_cmd *cmd)
{
	if (!cmd)
		return;
	if (cmd->data_mapped)
		dma_unmap_single(dev->dma_dev, cmd->data_addr, cmd->data_len,
				 DMA_BIDIRECTIONAL);
	kfree(cmd->data);
	sg_free_table(&cmd->entries_sgt);
	kvfree(cmd->entries);
	kfree(cmd->resp);
	kfree(cmd->req);
	kfree(cmd);
}

/**
 * pinhole_cmd_alloc_entries() - allocate and describe a command's entries
 * @dev: device
 * @cmd: command
 * @num_entries: number of entries, not 0
 *
 * Large arrays may be contiguous in virtual memory only; then each of their
 * pages takes a descriptor, and together they must fit the queue.
 *
 * Context: Process context.
 * Return: 0, -ENOMEM, or -E2BIG if the queue is too short for them.
 */
static int pinhole_cmd_alloc_entries(struct pinhole_device *dev,
				     struct pinhole_cmd *cmd,
				     unsigned int num_entries)
{
	size_t left = array_size(num_entries, sizeof(*cmd->entries));
	unsigned int pieces = 1;
	struct scatterlist *sg;
	unsigned int i;
	char *at;
	int ret;

	cmd->entries = kvcalloc(num_entries, sizeof(*cmd->entries), GFP_KERNEL);
	if (!cmd->entries)
		return -ENOMEM;
	cmd->num_entries = num_entries;

	if (is_vmalloc_addr(cmd->entries))
		pieces = DIV_ROUND_UP(left, PAGE_SIZE);
	if (pieces + 2 > dev->command_slots)
		return -E2BIG;

	ret = sg_alloc_table(&cmd->entries_sgt, pieces, GFP_KERNEL);
	if (ret)
		return ret;
	if (pieces == 1 && !is_vmalloc_addr(cmd->entries)) {
		sg_set_buf(cmd->entries_sgt.sgl, cmd->entries, left);
		return 0;
	}

	at = (char *)cmd->entries;
	for_each_sgtable_sg(&cmd->entries_sgt, sg, i) {
		unsigned int len = min_t(size_t, left, PAGE_SIZE);

		sg_set_page(sg, vmalloc_to_page(at), len, 0);
		at += len;
		left -= len;
	}
	return 0;
}

/**
 * pinhole_cmd_alloc() - allocate a command
 * @dev: device
 * @req_len: length of the request, header included
 * @resp_len: length of the response, header included; 0 for none
 * @num_entries: number of scatter entries; 0 for none
 *
 * Context: Process context.
 * Return: The command, zeroed and idle, or an ERR_PTR.
 */
struct pinhole_cmd *pinhole_cmd_alloc(struct pinhole_device *dev, size_t req_len,
				      size_t resp_len, unsigned int num_entries)
{
	struct pinhole_cmd *cmd = kzalloc(sizeof(*cmd), GFP_KERNEL);
	int ret = -ENOMEM;

	if (!cmd)
		return ERR_PTR(ret);

	INIT_LIST_HEAD(&cmd->node);
	init_completion(&cmd->done);
	cmd->req_len = req_len;
	cmd->resp_len = resp_len;

	cmd->req = kzalloc(req_len, GFP_KERNEL);
	if (!cmd->req)
		goto err_free;
	sg_init_one(&cmd->req_sg, cmd->req, req_len);

	if (resp_len) {
		cmd->resp = kzalloc(resp_len, GFP_KERNEL);
		if (!cmd->resp)
			goto err_free;
		sg_init_one(&cmd->resp_sg, cmd->resp, resp_len);
	}

	if (num_entries) {
		ret = pinhole_cmd_alloc_entries(dev, cmd, num_entries);
		if (ret)
			goto err_free;
	}
	return cmd;

err_free:
	pinhole_cmd_free(dev, cmd);
	return ERR_PTR(ret);
}

/**
 * pinhole_cmd_attach() - attach data that the card reads and writes
 * @dev: device
 * @cmd: command, idle, with one scatter entry
 * @data: data, which is copied
 * @length: their length in bytes, not 0
 *
 * The command owns the copy, so that a card that answers too late writes to
 * nobody else's memory.
 *
 * Context: Process context.
 * Return: 0 or -ENOMEM.
 */
int pinhole_cmd_attach(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       const void *data, size_t length)
{
	u64 start;

	cmd->data = kmemdup(data, length, GFP_KERNEL);
	if (!cmd->data)
		return -ENOMEM;
	cmd->data_len = length;
	start = virt_to_phys(cmd->data);
	if (dev->use_dma) {
		cmd->data_addr = dma_map_single(dev->dma_dev, cmd->data, length,
						DMA_BIDIRECTIONAL);
		if (dma_mapping_error(dev->dma_dev, cmd->data_addr))
			return -ENOMEM;
		cmd->data_mapped = true;
		start = cmd->data_addr;
	}
	cmd->entries[0].start = cpu_to_le64(start);
	cmd->entries[0].len = cpu_to_le32(length);
	return 0;
}

/**
 * pinhole_cmd_fetch() - read what the card has made of attached data
 * @dev: device
 * @cmd: command, answered
 * @data: where they go
 * @length: their length in bytes, as attached
 *
 * Context: Process context.
 * Return: Nothing.
 */
void pinhole_cmd_fetch(struct pinhole_device *dev, struct pinhole_cmd *cmd,
		       void *data, size_t length)
{
	if (cmd->data_mapped)
		dma_sync_single_for_cpu(dev->dma_dev, cmd->data_addr, length,
					DMA_BIDIRECTIONAL);
	memcpy(data, cmd->data, length);
}

/**
 * pinhole_cmd_release() - the owner of a command has no more use for it
 * @dev: device
 * @cmd: command, not pending; NULL is allowed
 *
 * Context: Process context. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_cmd_release(struct pinhole_device *dev, struct pinhole_cmd *cmd)
{
	unsigned long flags;
	bool idle;

	if (!cmd)
		return;

	spin_lock_irqsave(&dev->lock, flags);
	idle = cmd->state == PINHOLE_CMD_IDLE;
	if (!idle) {
		cmd->orphan = true;
		cmd->buf = NULL;
	}
	spin_unlock_irqrestore(&dev->lock, flags);

	if (idle)
		pinhole_cmd_free(dev, cmd);
}

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
 * exactly once, at once if the card is dead.
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
void pinhole_cmd_submit(struct pinhole_device *dev, struct pinhole_cmd *cmd)
{
	cmd->used = 0;
	cmd->since = jiffies;
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
 *
 * A card that does not answer in time is given up for good.
 *
 * Context: Process context. Waits, for the module's timeout at most.
 * Return: 0, the card's negative errno, -EIO if it does not answer, -ENODEV if
 * it is removed meanwhile.
 */
int pinhole_cmd_call(struct pinhole_device *dev, struct pinhole_cmd *cmd)
{
	unsigned long flags;
	int ret;

	reinit_completion(&cmd->done);
	cmd->complete = pinhole_call_complete;

	spin_lock_irqsave(&dev->lock, flags);
	pinhole_cmd_submit(dev, cmd);
	spin_unlock_irqrestore(&dev->lock, flags);

	if (!wait_for_completion_timeout(&cmd->done, pinhole_timeout()))
		pinhole_set_fault(dev, -EIO, "does not answer a command");

	spin_lock_irqsave(&dev->lock, flags);
	ret = cmd->state == PINHOLE_CMD_IDLE ? cmd->result : dev->fault;
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
	if (used < sizeof(*hdr) || used > cmd->resp_len)
		return -EIO;
	status = le32_to_cpu(hdr->status);
	/* Numbers above are the kernel's own; applications never see them. */
	if (status > EHWPOISON)
		return -EIO;
	return -(int)status;
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
	struct pinhole_cmd *cmd;
	unsigned long flags;
	unsigned int used;

	spin_lock_irqsave(&dev->lock, flags);
	do {
		virtqueue_disable_cb(vq);
		while ((cmd = virtqueue_get_buf(vq, &used))) {
			cmd->used = used;
			pinhole_cmd_finish(dev, cmd,
					   pinhole_cmd_result(cmd, used));
		}
	} while (!virtqueue_enable_cb(vq));
	dev->heard = jiffies;
	if (!dev->fault)
		pinhole_cmds_flush(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
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
