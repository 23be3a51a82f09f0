/* SPDX-License-Identifier: MIT
 *
 * The table of hazards 5, command by command.
 */
#include "report/verdict.h"
#include <string.h>

static void put_text(char ret_text[VERDICT_TEXT_MAX], const char *p, size_t bytes)
{
	size_t n = MIN(bytes, (size_t)VERDICT_TEXT_MAX - 1);

	for (size_t i = 0; i < n; i++)
		ret_text[i] = (char)(p[i] < ' ' || p[i] > '~' ? '?' : p[i]);
	ret_text[n] = '\0';
}

enum verdict verdict_of_fail(const struct resp *r, char ret_text[VERDICT_TEXT_MAX])
{
	ret_text[0] = '\0';
	if (resp_is_ok(r))
		return VERDICT_DONE;

	put_text(ret_text, r->head, r->head_bytes);
	if (r->kind != '-')
		return VERDICT_REFUSED;
	switch (resp_error_class(r)) {
	case RESP_ERROR_NOT_FOUND:
		return VERDICT_NOT_FOUND;
	case RESP_ERROR_STORAGE:
		/* The server has let go of the reservation in its memory: a second FAIL is "Job not found", and the job
		 * vanishes at the end of its lease. */
		return VERDICT_HALF_DONE;
	case RESP_ERROR_UNAVAILABLE:
		return VERDICT_AGAIN;
	case RESP_ERROR_REFUSED:
	case RESP_ERROR_PASSWORD:
		break;
	}
	return VERDICT_REFUSED;
}

enum verdict verdict_of_ack(const struct resp *r, char ret_text[VERDICT_TEXT_MAX])
{
	enum verdict v = verdict_of_fail(r, ret_text);

	/* What a FAIL must not do, an ACK may: the job is finished, and saying so twice changes nothing. */
	return v == VERDICT_HALF_DONE ? VERDICT_AGAIN : v;
}

/* The first text of {"jid":"text"}: all entries are of the one job that was pushed. */
static void find_reason(const char *p, size_t bytes, const char **ret, size_t *ret_bytes)
{
	const char *colon = memmem(p, bytes, "\":\"", 3);

	*ret = p;
	*ret_bytes = bytes;
	if (!colon)
		return;
	*ret = colon + 3;
	*ret_bytes = (size_t)(p + bytes - *ret);
	if (*ret_bytes >= 2 && memcmp(*ret + *ret_bytes - 2, "\"}", 2) == 0)
		*ret_bytes -= 2;
}

enum verdict verdict_of_pushb(const struct resp *r, const char *p, size_t bytes, char ret_text[VERDICT_TEXT_MAX])
{
	struct resp reason = {.kind = '-'};
	enum verdict v;
	const char *body;
	size_t body_bytes, n;

	if (r->kind != '$')
		return resp_is_ok(r) ? VERDICT_REFUSED : verdict_of_ack(r, ret_text);

	resp_body(r, p, bytes, &body, &body_bytes);
	if (body_bytes == 2 && memcmp(body, "{}", 2) == 0) {
		ret_text[0] = '\0';
		return VERDICT_DONE;
	}

	/* A map of what could not be stored: each text is what an -ERR would have said. */
	find_reason(body, body_bytes, &body, &body_bytes);
	memcpy(reason.head, "ERR ", 4);
	n = MIN(body_bytes, sizeof(reason.head) - 5);
	memcpy(reason.head + 4, body, n);
	reason.head_bytes = (uint8_t)(n + 4);
	v = verdict_of_ack(&reason, ret_text);
	put_text(ret_text, body, body_bytes);
	return v;
}
