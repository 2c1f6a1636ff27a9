// Who is who: ids of users as emails, for admins, who may see them.
import { useLoad } from './ui/index.js';

const PAGE = 100;
const MOST_PAGES = 50;

/** The users of the caller's tenant, one page after another, until `wanted(user)` or the end. */
async function* users(api, me, signal) {
  const pages = api.paged(`tenants/${me.tenant_id}/users`, { limit: PAGE });
  for (let left = MOST_PAGES; left > 0; left -= 1) {
    const page = await pages.next(signal);
    yield* page.rows;
    if (!page.more) return;
  }
}

/** One of them, or null. (The interface has lists of users, and no address of one.) */
export async function findUser(api, me, id, signal) {
  for await (const user of users(api, me, signal)) if (user.id === id) return user;
  return null;
}

/** A function from a user's id to what it is called here: `you`, an email, or the beginning of the id. */
export function useNames(api, me) {
  const known = useLoad(async ({ signal }) => {
    const found = new Map();
    if (me.role === 'admin') {
      const page = await api.paged(`tenants/${me.tenant_id}/users`, { limit: PAGE }).next(signal);
      for (const user of page.rows) found.set(user.id, user.email);
    }
    return found;
  }, [me.id]);
  return (id) => (id === me.id ? 'you' : known.data?.get(id) ?? `${id.slice(0, 8)}…`);
}
