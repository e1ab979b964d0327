/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * verify_fields.c - what must be right within one record: its shape, what is unknown, the status of
 * a death; and ids, which must be those that the last change left. It owns nothing.
 *
 * Ids are judged only of a process that is known to have one thread: each thread has ids of its
 * own, and which one a record of the process speaks for depends on the source. An exec may change
 * them (set-user-id files), and its record has the new ones; where the changes come by another way
 * than the execs, the order of the two is not judged either.
 */
#include <string.h>
#include <sys/wait.h>

#include "payload.h"
#include "verify_data.h"

#define SIGNAL_MAX 64

static const uint32_t asked_for[KNELL_KIND_MAX] = {
	[KNELL_UID] = KNELL_O_IDS,
	[KNELL_GID] = KNELL_O_IDS,
	[KNELL_FREE] = KNELL_O_FREE,
};

/* An exec's file name has its NUL at least. */
static size_t least_payload(uint8_t kind)
{
	return payload_size(kind) + (kind == KNELL_EXEC);
}

/* A field that is not known is zero. Returns the name of one that is not. */
static const char *not_zero(const struct knell_event *e)
{
	static const struct knell_task_id nobody;
	static const char no_comm[KNELL_COMM_LEN];
	const uint32_t u = e->unknown;

	if (u & KNELL_U_PARENT && memcmp(&e->parent, &nobody, sizeof(nobody)) != 0)
		return "parent";
	if (u & KNELL_U_UID && e->uid)
		return "uid";
	if (u & KNELL_U_GID && e->gid)
		return "gid";
	if (u & KNELL_U_CGROUP && e->cgroup)
		return "cgroup";
	if (u & KNELL_U_COMM && memcmp(e->comm, no_comm, sizeof(no_comm)) != 0)
		return "comm";
	if (u & KNELL_U_CPU && e->cpu)
		return "cpu";
	if (e->kind == KNELL_EXIT && u & KNELL_U_STATUS && e->u.exit.status)
		return "status";
	if ((e->kind == KNELL_UID || e->kind == KNELL_GID) && u & KNELL_U_SAVED &&
	    (e->u.ids.saved || e->u.ids.fs))
		return "saved id";
	return NULL;
}

/* False: it cannot be looked at any further. */
bool vf_check_shape(struct verify *v, const struct knell_event *e)
{
	const char *name;

	if (e->size < KNELL_EVENT_HEAD || e->size % 8 || e->size > KNELL_EVENT_MAX ||
	    e->version != KNELL_EVENT_VERSION || !e->kind || e->kind >= KNELL_KIND_MAX ||
	    e->size < KNELL_EVENT_HEAD + least_payload(e->kind)) {
		vf_complain(v, VF_NEVER, NULL, NULL,
			    "not a record: size %u, version %u, kind %u, of process %u", e->size,
			    e->version, e->kind, e->task.tgid);
		return false;
	}
	if (e->kind == KNELL_GAP ? e->scope != 0
				 : e->scope != KNELL_PROCESS && e->scope != KNELL_THREAD) {
		vf_complain(v, VF_NEVER, NULL, e, "scope %u", e->scope);
		return false;
	}
	if (asked_for[e->kind] & ~v->flags)
		vf_complain(v, VF_NEVER, NULL, e, "nobody asked for this kind");
	if (e->scope == KNELL_THREAD && !(v->flags & KNELL_O_THREADS))
		vf_complain(v, VF_NEVER, NULL, e, "nobody asked for threads");
	name = not_zero(e);
	if (name)
		vf_complain(v, VF_NEVER, NULL, e, "the %s is unknown, but not zero", name);
	return true;
}

static bool is_status(int status)
{
	if (WIFEXITED(status))
		return !(status & ~0xff00);
	return WIFSIGNALED(status) && WTERMSIG(status) <= SIGNAL_MAX &&
	       !(status & ~(0x7f | WCOREFLAG));
}

/* Status and cause of a process's death agree. */
void vf_check_exit(struct verify *v, const struct vf_life *life, const struct knell_event *e)
{
	const struct knell_exit *exit = &e->u.exit;

	if (exit->reason >= KNELL_REASON_MAX)
		vf_complain(v, VF_NEVER, life, e, "there is no reason %u", exit->reason);
	if (e->unknown & KNELL_U_STATUS)
		return;
	if (!is_status(exit->status)) {
		vf_complain(v, VF_NEVER, life, e, "%#x is no status of wait(2)", exit->status);
		return;
	}
	if (exit->killer.signo != (WIFSIGNALED(exit->status) ? WTERMSIG(exit->status) : 0))
		vf_complain(v, VF_NEVER, life, e, "its status %#x is not that of signal %u",
			    exit->status, exit->killer.signo);
	if (e->unknown & KNELL_U_CAUSE)
		return;
	if (WIFSIGNALED(exit->status) != (exit->reason != KNELL_R_NONE))
		vf_complain(v, VF_NEVER, life, e, "its status %#x does not go with the reason %s",
			    exit->status, knell_reason_name(exit->reason));
}

static void learn(struct vf_ids *ids, uint32_t effective)
{
	ids->all_known = ids->all_known && ids->effective == effective;
	ids->known = true;
	ids->effective = effective;
}

/* A change: what was before it is what the last one left. */
static void change(struct verify *v, struct vf_life *life, struct vf_ids *ids,
		   const struct knell_event *e)
{
	const struct knell_ids *new = &e->u.ids;
	const char *name = knell_kind_name(e->kind);
	uint32_t head = e->kind == KNELL_UID ? e->uid : e->gid;
	uint32_t unknown = e->kind == KNELL_UID ? KNELL_U_UID : KNELL_U_GID;

	if (!(e->unknown & unknown) && head != new->effective)
		vf_complain(v, VF_NEVER, life, e, "the %s of the head is %u, not the new one", name,
			    head);
	if (!(e->unknown & KNELL_U_OLD) && !life->several) {
		if (ids->known && new->old_effective != ids->effective)
			vf_complain(v, VF_OTHER, life, e, "the effective %s before was %u, not %u",
				    name, ids->effective, new->old_effective);
		else if (ids->all_known && (new->old_real != ids->real ||
					    new->old_saved != ids->saved || new->old_fs != ids->fs))
			vf_complain(v, VF_OTHER, life, e,
				    "the real, saved and file system %s before were %u %u %u", name,
				    ids->real, ids->saved, ids->fs);
	}
	*ids = (struct vf_ids){
		.known = true,
		.all_known = !(e->unknown & KNELL_U_SAVED),
		.real = new->real,
		.effective = new->effective,
		.saved = new->saved,
		.fs = new->fs,
		.time = e->time,
	};
}

static void check_head(struct verify *v, struct vf_life *life, struct vf_ids *ids,
		       const struct knell_event *e, const char *name, uint32_t told)
{
	const bool one_thread = life->whole && !life->several && v->flags & KNELL_O_THREADS &&
				v->can & KNELL_CAN_THREADS;

	if (e->kind == KNELL_EXEC) {
		if (e->time >= ids->time)
			learn(ids, told);
	} else if (!ids->known) {
		learn(ids, told);
	} else if (v->ids && one_thread && e->kind != KNELL_UID && e->kind != KNELL_GID &&
		   told != ids->effective) {
		vf_complain(v, VF_OTHER, life, e, "its %s was %u when it was last told", name,
			    ids->effective);
		learn(ids, told);
	}
}

/* Of a process, in any kind of record. */
void vf_check_ids(struct verify *v, struct vf_life *life, const struct knell_event *e)
{
	if (e->kind == KNELL_UID)
		change(v, life, &life->uid, e);
	else if (e->kind == KNELL_GID)
		change(v, life, &life->gid, e);
	if (!(e->unknown & KNELL_U_UID))
		check_head(v, life, &life->uid, e, "uid", e->uid);
	if (!(e->unknown & KNELL_U_GID))
		check_head(v, life, &life->gid, e, "gid", e->gid);
	if (!(e->unknown & KNELL_U_COMM))
		memcpy(life->comm, e->comm, sizeof(life->comm));
}
