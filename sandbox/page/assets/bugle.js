// Bugle's API for apps (docs/api.md).

// Failure is an answer that is not a success, or none. Its kind is away (try again),
// refused (the token is not taken) or wrong (nobody will take it).
export class Failure extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    this.kind = kind;
    this.status = status;
  }
}

// kindOf tells what to make of a status.
export function kindOf(status) {
  if (status === 401 || status === 403) return 'refused';
  return status === 408 || status === 429 || status >= 500 ? 'away' : 'wrong';
}

export class Bugle {
  #base;
  #token;
  #heard;

  // heard is told 'live', 'away' or 'refused' after each answer.
  constructor(base, token, heard) {
    this.#base = base.replace(/\/+$/, '');
    this.#token = token;
    this.#heard = heard;
  }

  async activate({id, platform, target}) {
    const {locale, timeZone} = Intl.DateTimeFormat().resolvedOptions();
    return this.#ask('POST', `/v1/devices/${encodeURIComponent(id)}/activate`, {platform, target, locale, time_zone: timeZone});
  }

  async deactivate(id) {
    await this.#ask('POST', `/v1/devices/${encodeURIComponent(id)}/deactivate`);
  }

  // state returns active, inactive or retired; inactive for a device that nobody knows.
  async state(id) {
    const {devices} = await this.#ask('GET', '/v1/devices');
    return devices.find((device) => device.id === id)?.state ?? 'inactive';
  }

  // ablyToken returns Ably's TokenDetails.
  async ablyToken() {
    return this.#ask('POST', '/v1/ably/token');
  }

  // inbox returns what the user was told, newest first.
  async inbox() {
    return (await this.#ask('GET', '/v1/notifications?limit=50')).notifications;
  }

  async #ask(method, path, body) {
    let res, answer;
    try {
      res = await fetch(this.#base + path, {
        method, credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(8000),
        headers: {Authorization: `Bearer ${this.#token}`, ...(body && {'Content-Type': 'application/json'})},
        body: body && JSON.stringify(body),
      });
      const text = await res.text();
      answer = text ? JSON.parse(text) : null;
    } catch {
      this.#heard('away');
      throw new Failure('away', 'Bugle does not answer.');
    }
    if (res.ok) {
      this.#heard('live');
      return answer;
    }
    const kind = kindOf(res.status);
    this.#heard(kind === 'wrong' ? 'live' : kind);
    throw new Failure(kind, answer?.title ?? `Bugle answered ${res.status}.`, res.status);
  }
}
