// Who is signed in. The access token lives in this module's memory alone; the refresh token in a cookie that no script
// sees (docs/adr/0048).

/** Where the service is: "/" or what a proxy has put in front of it. */
export const ROOT = new URL('../../../', import.meta.url).pathname;
// Says which account this browser signed in with here: a cookie that somebody else planted brings another one.
const KEY = 'console.user';
const EARLY_MS = 30_000;

let token = null;
let endsAt = 0;
let renewal = null;
let operatorToken = '';
const listeners = new Set();

export const session = {
  /** The signed-in user as `GET /me` shows it, or null. */
  me: null,
  /** Why nobody is signed in any more, in words, or ''. */
  notice: '',
  get token() { return token; },
  get operatorToken() { return operatorToken; },
  get isDue() { return token !== null && Date.now() > endsAt - EARLY_MS; },
};

/** Call `listener` whenever who is signed in changes; returns what takes it away. */
export function onSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function setOperatorToken(value) {
  operatorToken = value;
  tell();
}

/** Begin a session; throws a problem's fields where it is refused. */
export async function signIn(email, password) {
  const answer = await call('login', { email, password });
  if (answer.status !== 200) throw answer.problem;
  localStorage.setItem(KEY, answer.body.user.id);
  take(answer.body, '');
}

/** A new session in the place of the present one: its password was given a moment ago. */
export async function signInAgain(password) {
  const before = token;
  const answer = await call('login', { email: session.me.email, password });
  if (answer.status !== 200) throw answer.problem;
  take(answer.body, '');
  fetch(`${ROOT}logout`, { method: 'POST', headers: { Authorization: `Bearer ${before}` } }).catch(() => {});
}

/** Go on with the session that this browser kept, if it kept one; true if somebody is signed in then. */
export async function restore() {
  if (localStorage.getItem(KEY) === null) return false;
  try {
    return await renew();
  } catch (problem) {
    end(problem.detail);
    return false;
  }
}

/** The next access token; false if the session is over. Many at once share one call; other tabs make their own. */
export function renew() {
  renewal ??= renewed().finally(() => { renewal = null; });
  return renewal;
}

async function renewed() {
  const expected = session.me?.id ?? localStorage.getItem(KEY);
  const answer = await call('refresh');
  if (answer.status === 401 || answer.status === 403) {
    forget(answer.status === 403 ? answer.problem.detail : 'Your session is over. Sign in again.');
    return false;
  }
  if (answer.status !== 200) throw answer.problem;
  if (answer.body.user.id !== expected) {
    end('Another account was signed in with this browser meanwhile.');
    return false;
  }
  take(answer.body, '');
  return true;
}

/** End this session, or all of the user's. */
export async function signOut(everywhere = false) {
  if (session.isDue) await renew();
  if (token !== null) {
    const answer = await call('logout', { everywhere });
    if (answer.status !== 204 && answer.status !== 401) throw answer.problem;
  }
  forget(everywhere ? 'You are signed out everywhere.' : '');
}

/** The service has ended the session, as when its tenant was erased: this browser keeps nothing of it. */
export function forget(notice) {
  localStorage.removeItem(KEY);
  end(notice);
}

/** Nobody is signed in any more; `notice` says why. */
export function end(notice) {
  token = null;
  operatorToken = '';
  session.me = null;
  session.notice = notice;
  tell();
}

function take(body, notice) {
  const isNew = JSON.stringify(session.me) !== JSON.stringify(body.user);
  token = body.access_token;
  endsAt = Date.now() + body.expires_in * 1000;
  session.me = body.user;
  session.notice = notice;
  if (isNew) tell();
}

function tell() {
  for (const listener of listeners) listener();
}

async function call(path, body) {
  const headers = { 'X-Session': 'cookie' };
  if (body) headers['Content-Type'] = 'application/json';
  if (path === 'logout') headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    // Kept alive: a page that is closed meanwhile must not lose the cookie that takes the place of the one it spent.
    answer = await fetch(ROOT + path, { method: 'POST', headers, body: body && JSON.stringify(body), keepalive: true });
  } catch {
    throw { status: 0, detail: 'The service could not be reached.' };
  }
  const said = await answer.json().catch(() => null);
  return { status: answer.status, body: said, problem: { status: answer.status, detail: answer.statusText, ...said } };
}

// Another tab signed out: here too.
addEventListener('storage', (event) => {
  if (event.key === KEY && event.newValue === null && session.me) end('You signed out in another tab.');
});
