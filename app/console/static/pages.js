// Every page of the console: its path, its title, who sees it, its module. `who` gets {me, operator}; an `open` page needs
// nobody signed in. They stand in the order of the navigation.

export const anybody = ({ me }) => Boolean(me);
export const admins = ({ me }) => me?.role === 'admin';

export const PAGES = [
  { path: '', title: 'Overview', icon: 'overview', who: anybody, load: () => import('./pages/overview.js') },
  { path: 'messages', title: 'Messages', icon: 'messages', who: anybody, load: () => import('./pages/messages.js') },
  { path: 'try', title: 'Try it', icon: 'try', who: anybody, load: () => import('./pages/try.js') },
  { path: 'documents', title: 'Documents', icon: 'documents', who: anybody, load: () => import('./pages/documents.js') },
  { path: 'people', title: 'People', icon: 'people', who: admins, load: () => import('./pages/people.js') },
  { path: 'keys', title: 'API keys', icon: 'keys', who: anybody, load: () => import('./pages/keys.js') },
  { path: 'budgets', title: 'Budgets and prices', icon: 'budgets', who: anybody, load: () => import('./pages/budgets.js') },
  { path: 'audit', title: 'Audit', icon: 'audit', who: admins, load: () => import('./pages/audit.js') },
  { path: 'settings', title: 'Settings', icon: 'settings', who: anybody, load: () => import('./pages/settings.js') },
  {
    path: 'tenants', title: 'Tenants', icon: 'tenants', open: true, who: ({ me, operator }) => operator || !me,
    load: () => import('./pages/tenants.js'),
  },
  // Where the link of an invite leads.
  { path: 'join', title: 'Join', open: true, who: () => false, load: () => import('./pages/join.js') },
];
